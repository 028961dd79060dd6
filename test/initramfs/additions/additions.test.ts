import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { chmod, glob, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { architectureOf, hostArchitecture } from '../../../debian/architecture.ts';
import { manifestOf, packAdditions, readAdditions } from '../../../initramfs/additions/additions.ts';
import { addAuthorizedKeys } from '../../../initramfs/additions/authorized-keys.ts';
import { addModules } from '../../../initramfs/additions/modules.ts';
import { additionOptions } from '../../../initramfs/additions/options.ts';
import { addPackages } from '../../../initramfs/additions/packages.ts';
import { fetchSystem } from '../../../initramfs/system.ts';
import { Tree } from '../../../initramfs/tree.ts';
import { createCertificateAuthority } from '../../sandbox/certificates.ts';
import { startDebianArchive } from '../../sandbox/debian-archive.ts';

const root = join(import.meta.dirname, '../../..');
const nothing = {
  ...{ files: [], certificates: [], images: [], packages: [], modules: [] },
  ...{ authorizedKeys: undefined, hasSshServer: false },
};
const amd64 = architectureOf('x86_64');
/** What is not of Debian needs no system. */
const sources = {
  ...{ architecture: amd64, cache: '/none', scratch: '/none' },
  system: () => Promise.reject(new Error('no system is needed')),
};

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-additions-'));
  await writeFile(join(directory, 'ca.pem'), (await createCertificateAuthority()).certificate);
  await writeFile(join(directory, 'text'), 'hello\n');
});
after(() => rm(directory, { recursive: true }));

async function write(path: string, content: string): Promise<string> {
  const file = join(directory, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
  return file;
}

test('files are added with their modes, where the image has their directories', async () => {
  await write('one/usr/sbin/tool', 'tool');
  await chmod(join(directory, 'one/usr/sbin/tool'), 0o750);
  await write('one/usr/lib/data', 'data');
  await write('one/etc/both', 'first');
  await chmod(join(directory, 'one/etc'), 0o700);
  await symlink('tool', join(directory, 'one/usr/sbin/link'));
  await write('two/etc/both', 'second');
  const given = { ...nothing, files: ['one', 'two'].map((name) => join(directory, name)) };
  const additions = await readAdditions(given, sources);
  const { tree } = additions;
  const found = tree.entries.map(([path, entry]) =>
    entry.kind === 'link' ? `${path} → ${entry.target}` : `${path} ${entry.mode.toString(8)}`,
  );
  deepEqual(found, [
    ...['site 755', 'site/files 755', 'site/files/bin 755', 'site/files/bin/link → tool', 'site/files/bin/tool 750'],
    ...['site/files/etc 700', 'site/files/etc/both 644', 'site/files/lib 755', 'site/files/lib/data 644'],
    'site/files/usr 755',
  ]);
  const both = new Map(tree.entries).get('site/files/etc/both');
  equal(both?.kind === 'file' && Buffer.from(both.content).toString(), 'second');
  deepEqual(Object.keys(manifestOf(additions).files), tree.files);
});

test('the archive can be followed by one that is not compressed, and its bytes depend on its files only', async () => {
  const { tree } = await readAdditions({ ...nothing, certificates: [join(directory, 'ca.pem')] }, sources);
  const packed = await packAdditions(tree, 5);
  equal(packed.length % 4, 0);
  deepEqual(packed, await packAdditions(tree, 5));
  await writeFile(join(directory, 'packed'), packed);
  const { stdout } = await execa('sh', ['-c', `zstd -dcq ${join(directory, 'packed')} | cpio --list --quiet`]);
  deepEqual(stdout.split('\n'), ['site', 'site/certificates', 'site/certificates/ca.pem']);
});

for (const [what, wrong, message] of [
  ['a directory that is not there', { files: ['none'] }, /none: ENOENT.*\(give FILES= a directory/],
  ['a file in place of a directory', { files: ['text'] }, /text: it is no directory \(give FILES=/],
  ['a certificate that is not there', { certificates: ['none.pem'] }, /none\.pem: ENOENT.*\(give CERTIFICATES=/],
  ['what is no certificate', { certificates: ['text'] }, /text: it contains no certificate in PEM format/],
  ['two certificates of one name', { certificates: ['ca.pem', 'ca.pem'] }, /another file has the same name/],
] as const) {
  test(`it refuses ${what}`, async () => {
    const options: { files?: readonly string[]; certificates?: readonly string[] } = wrong;
    const paths = (names: readonly string[] = []) => names.map((name) => join(directory, name));
    const given = { ...nothing, files: paths(options.files), certificates: paths(options.certificates) };
    await rejects(readAdditions(given, sources), { name: 'OperationError', message });
  });
}

test('it refuses files that the machine would not see, and what is no file', async () => {
  for (const path of ['hidden/var/run/x', 'covered/var/lib/docker/x']) await write(path, '');
  const message = /the machine mounts a file system at \/(run|var\/lib\/docker) /;
  for (const name of ['hidden', 'covered'])
    await rejects(readAdditions({ ...nothing, files: [join(directory, name)] }, sources), { message });
  await mkdir(join(directory, 'socket'));
  await using server = createServer();
  await new Promise<void>((resolve) => server.listen(join(directory, 'socket/s'), resolve));
  const given = { ...nothing, files: [join(directory, 'socket')] };
  await rejects(readAdditions(given, sources), { message: /it is neither a file nor a directory nor a link/ });
});

test('nothing is added unless something is given', () => {
  equal(additionOptions({}), undefined);
});

test('make passes what a site adds to the boot image and to a second initramfs', async () => {
  const variables = [
    'FILES=one two',
    'CERTIFICATES=ca.pem',
    'IMAGES=a.tar b:1=c.tar',
    'PACKAGES=p q',
    'MODULES=m',
    'AUTHORIZED_KEYS=k',
    'SSH=dropbear',
  ];
  const expected =
    '--files one --files two --certificate ca.pem --image a.tar --image b:1=c.tar --package p --package q --module m --authorized-keys k --ssh dropbear';
  for (const [target, script] of [
    ['initramfs', 'build'],
    ['site-initramfs', 'site-initramfs'],
  ] as const) {
    const make = ['--dry-run', '--always-make', target, ...variables];
    // Without the variables of a make that runs the tests.
    const environment = { env: { PATH: process.env['PATH'] }, extendEnv: false };
    const { stdout } = await execa('make', make, { cwd: root, ...environment });
    match(stdout, new RegExp(`initramfs/${script}\\.ts --arch ${hostArchitecture.name} +${expected}`));
  }
});

test('a second initramfs is written with its manifest and checksum; a mistake ends the build with one line', async () => {
  const script = join(root, 'initramfs/site-initramfs.ts');
  const output = join(directory, 'output');
  const run = (given: readonly string[]) =>
    execa(process.execPath, [script, '--arch', 'x86_64', '--output', output, ...given], { reject: false });
  equal((await run(['--certificate', join(directory, 'ca.pem')])).exitCode, 0);
  const { stdout } = await execa('sha256sum', ['--check', 'SHA256SUMS'], { cwd: output });
  match(stdout, /^site-initramfs-x86_64: OK$/m);
  ok(
    (await readFile(join(output, 'site-initramfs-x86_64.manifest.json'), 'utf8')).includes(
      '"site/certificates/ca.pem"',
    ),
  );
  const mistake = await run(['--certificate', 'none.pem']);
  deepEqual([mistake.exitCode, mistake.stderr.split('\n').length], [1, 1]);
  match(mistake.stderr, /^error: cannot use none\.pem: ENOENT/);
});

test('it refuses packages that Debian does not have, with the reason of apt', async () => {
  await using debian = await startDebianArchive();
  await debian.publish([{ name: 'there', version: '1', depends: 'missing' }]);
  const system = { architecture: amd64, list: [], packages: '/none', engine: 'docker' } as const;
  const add = (name: string) =>
    addPackages(new Tree(), [name], { system, cache: debian.cache, archive: debian.archive });
  const message = (why: string) =>
    new RegExp(`^cannot add the packages \\w+: ${why}.*\\(give PACKAGES= names of Debian`);
  await rejects(add('none'), { name: 'OperationError', message: message('Unable to locate package none') });
  await rejects(add('there'), { name: 'OperationError', message: message('') });
});

test('it refuses kernel modules that are none, or not for this kernel', async () => {
  const system = await fetchSystem(join(root, 'build/cache'), { architecture: amd64 });
  const add = (name: string) => addModules(new Tree(), [name], system, join(directory, 'modules'));
  await writeFile(join(directory, 'text.ko'), 'text');
  const message = (text: RegExp) => ({ name: 'OperationError', message: text });
  await rejects(
    add('no_such_driver'),
    message(/^cannot add the modules no_such_driver: the kernel has no module no_such/),
  );
  await rejects(add(join(directory, 'none.ko')), message(/none\.ko: there is no such file \(give modules for 6\./));
  await rejects(add(join(directory, 'text.ko')), message(/text\.ko: it is no kernel module/));
  const [other] = await Array.fromAsync(glob('/lib/modules/*/kernel/**/*.ko'));
  if (other !== undefined) await rejects(add(other), message(/it is for the kernel /));
});

for (const [what, content, message] of [
  ['a private key', '-----BEGIN OPENSSH PRIVATE KEY-----\n', /it has a private key, which must not be in an image/],
  ['a line that is no key', `# comment\n\nssh-ed25519 hello\n`, /line 3 is no public key/],
  ['a key of another type', `ssh-rsa ${key('ssh-ed25519')}\n`, /line 1 is no public key/],
  ['no key', '# none\n', /it has no public key/],
] as const) {
  test(`it refuses ${what} for ssh`, async () => {
    const path = await write('keys', content);
    await rejects(addAuthorizedKeys(new Tree(), path), {
      message: new RegExp(`^cannot use ${path}: ${message.source} \\(give AUTHORIZED_KEYS=`),
    });
  });
}

test('keys for ssh are added with their options', async () => {
  const lines = [`ssh-ed25519 ${key('ssh-ed25519')} me@host`, `from="10.0.0.0/8" ssh-rsa ${key('ssh-rsa')}`];
  const tree = new Tree();
  await addAuthorizedKeys(tree, await write('keys', `# ours\n${lines.join('\n')}\n`));
  deepEqual(new Map(tree.entries).get('site/ssh/authorized_keys'), {
    ...{ kind: 'file', mode: 0o600 },
    content: Buffer.from(`${lines.join('\n')}\n`),
  });
});

/** The beginning of a public key: its type. */
function key(type: string): string {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(type.length);
  return Buffer.concat([length, Buffer.from(type), Buffer.alloc(32)]).toString('base64');
}
