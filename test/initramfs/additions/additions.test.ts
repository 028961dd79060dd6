import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { architectureOf, hostArchitecture } from '../../../debian/architecture.ts';
import { additionOptions, packAdditions, readAdditions } from '../../../initramfs/additions/additions.ts';
import { createCertificateAuthority } from '../../sandbox/certificates.ts';

const root = join(import.meta.dirname, '../../..');
const nothing = { files: [], certificates: [], images: [] };
const amd64 = architectureOf('x86_64');

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
  const { tree, manifest } = await readAdditions(given, amd64);
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
  deepEqual(Object.keys(manifest.files), tree.files);
});

test('the archive can be followed by one that is not compressed, and its bytes depend on its files only', async () => {
  const { tree } = await readAdditions({ ...nothing, certificates: [join(directory, 'ca.pem')] }, amd64);
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
    await rejects(readAdditions(given, amd64), { name: 'OperationError', message });
  });
}

test('it refuses files that the machine would not see, and what is no file', async () => {
  for (const path of ['hidden/var/run/x', 'covered/var/lib/docker/x']) await write(path, '');
  const message = /the machine mounts a file system at \/(run|var\/lib\/docker) /;
  for (const name of ['hidden', 'covered'])
    await rejects(readAdditions({ ...nothing, files: [join(directory, name)] }, amd64), { message });
  await mkdir(join(directory, 'socket'));
  await using server = createServer();
  await new Promise<void>((resolve) => server.listen(join(directory, 'socket/s'), resolve));
  const given = { ...nothing, files: [join(directory, 'socket')] };
  await rejects(readAdditions(given, amd64), { message: /it is neither a file nor a directory nor a link/ });
});

test('nothing is added unless something is given', () => {
  equal(additionOptions({ files: [], certificate: [], image: [] }), undefined);
});

test('make passes what a site adds to the boot image and to a second initramfs', async () => {
  const variables = ['FILES=one two', 'CERTIFICATES=ca.pem', 'IMAGES=a.tar b:1=c.tar'];
  const expected = '--files one --files two --certificate ca.pem --image a.tar --image b:1=c.tar';
  for (const [target, script] of [
    ['initramfs', 'build'],
    ['site-initramfs', 'site-initramfs'],
  ] as const) {
    const { stdout } = await execa('make', ['--dry-run', '--always-make', target, ...variables], { cwd: root });
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
  match((await run([])).stderr, /^error: cannot make a second initramfs: there is nothing to add/);
});
