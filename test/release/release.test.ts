/** A release as `make release` makes it, without boot images, and what a user does with it. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { appendFile, copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { signFile, verifySignature } from '../../release/sign.ts';
import { readImageIndex } from '../../release/verify/image-index.ts';
import { startEngine } from '../sandbox/engine.ts';
import { startPlainRegistry } from '../sandbox/plain-registry.ts';
import { createGpg } from '../sandbox/signing.ts';
import { testDropIns } from './drop-in.ts';

const root = join(import.meta.dirname, '../..');
const node = process.execPath;
const maintainer = 'Ada Example <ada@debian.invalid>';

let scratch: string;
let release: string;
let publicKey: string;
let secretKey: string;

before(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'nibs-release-'));
  release = join(scratch, 'release');
  await using gpg = await createGpg();
  const primary = await gpg.createPrimary('release', { usage: 'cert,sign' });
  [publicKey, secretKey] = [join(scratch, 'public.asc'), join(scratch, 'secret.asc')];
  await writeFile(publicKey, await gpg.exportKeys(primary));
  await writeFile(secretKey, await gpg.exportPrivateKey(primary));
  await build(release, ['--parts', 'images,packages', '--maintainer', maintainer, '--sign-key', secretKey]);
});

after(() => rm(scratch, { recursive: true, force: true }));

/** Needs Node for the other architecture in build/cache, which `make build ARCH=…` fetches. */
async function build(output: string, args: readonly string[]): Promise<void> {
  const level = ['--compression-level', '0'];
  await execa(node, [join(root, 'release/build.ts'), '--output', output, ...level, ...args]);
}

function verify(...args: readonly string[]) {
  return execa(node, [join(root, 'release/verify.ts'), ...args], { reject: false });
}

test('it is verified with its public key alone, and another key or a changed file is refused', async () => {
  const { exitCode, stdout, stderr } = await verify(release, '--key', publicKey);
  equal(exitCode, 0, stderr);
  match(stdout, /^SHA256SUMS: signed by [0-9A-F]{40}$/m);
  match(stdout, /^flatcar-install\.oci\.tar: sha256:[0-9a-f]{64} for linux\/amd64 linux\/arm64$/m);
  match(stdout, /^nibs-linux-(x64|arm64): --version says \d/m);
  match(stdout, /^tink-agent_.*_arm64\.deb: \d+ files/m);
  await execa('sha256sum', ['--check', '--quiet', '--strict', 'SHA256SUMS'], { cwd: release });

  await using gpg = await createGpg();
  const stranger = join(scratch, 'stranger.asc');
  await writeFile(stranger, await gpg.exportKeys(await gpg.createPrimary('stranger', { usage: 'cert,sign' })));
  const other = await verify(release, '--key', stranger);
  deepEqual([other.exitCode, other.stdout], [1, '']);
  match(other.stderr, /SHA256SUMS: its signature is bad, or by a key that is not trusted/);
});

test('without a signature it is verified as not signed, and not at all with a key', async () => {
  const unsigned = join(scratch, 'unsigned');
  await mkdir(unsigned);
  await copyFile(join(release, 'SHA256SUMS'), join(unsigned, 'SHA256SUMS'));
  const withoutKey = await verify(unsigned);
  deepEqual([withoutKey.exitCode, withoutKey.stdout], [1, 'SHA256SUMS: not signed']);
  match(withoutKey.stderr, /SHA256SUMS names it, and it is missing/);
  const withKey = await verify(unsigned, '--key', publicKey);
  deepEqual([withKey.exitCode, withKey.stdout], [1, '']);
  match(withKey.stderr, /SHA256SUMS: it has no signature beside it/);
});

test('verifySignature() refuses a file that was changed after it was signed', async () => {
  const file = join(scratch, 'sums');
  await writeFile(file, 'before');
  await signFile(file, secretKey);
  match(await verifySignature(file, publicKey), /^[0-9A-F]{40}$/);
  await appendFile(file, 'after');
  await rejects(verifySignature(file, publicKey), /its signature is bad/);
});

test('a version, a maintainer and a registry of a wrong form, or none, are refused in one line', async () => {
  const wrong = await execa(node, [join(root, 'release/build.ts'), '--version', 'v1'], { reject: false });
  deepEqual([wrong.exitCode, wrong.stdout], [1, '']);
  match(wrong.stderr, /^error: cannot release the version v1: it is no semantic version \(give VERSION=1\.2\.3/);
  for (const given of [[], ['--maintainer', 'Ada'], ['--maintainer', 'Ada <ada>'], ['--maintainer', '<a@b.c>']]) {
    const parts = ['--parts', 'packages', ...given];
    const { exitCode, stderr } = await execa(node, [join(root, 'release/build.ts'), ...parts], { reject: false });
    equal(exitCode, 1);
    match(stderr, /^error: .*it is no name with an address \(give MAINTAINER="Name <address>"\)$/m);
  }
  const nowhere = await execa(node, [join(root, 'release/push.ts'), '--directory', release, '--', ''], {
    reject: false,
  });
  equal(nowhere.exitCode, 1);
  match(nowhere.stderr, /no registry is given \(make push REGISTRY=/);
});

test('pushed images are pulled on both platforms by skopeo and Docker, with the same digest', async () => {
  await using registry = await startPlainRegistry();
  await using engine = await startEngine();
  const push = [join(root, 'release/push.ts'), '--directory', release, '--', registry.host, '--dest-tls-verify=false'];
  const { stdout } = await execa(node, push);
  const { digest, version } = await readImageIndex(join(release, 'tink-worker.oci.tar'));
  const names = ['flatcar-install', 'image2disk', 'tink-worker', 'tink-agent'];
  deepEqual(
    stdout.split('\n'),
    names.flatMap((name) => [version, 'latest'].map((tag) => `${registry.host}/${name}:${tag}`)),
  );
  const raw = await fetch(`http://${registry.host}/v2/tink-agent/manifests/latest`, {
    headers: { accept: 'application/vnd.oci.image.index.v1+json' },
  });
  equal(raw.headers.get('docker-content-digest'), digest);
  for (const architecture of ['amd64', 'arm64']) {
    const reference = `${registry.host}/tink-worker:${version}`;
    const copy = join(scratch, `pulled-${architecture}`);
    const platform = ['--override-os', 'linux', '--override-arch', architecture];
    await execa('skopeo', [...platform, 'copy', '--src-tls-verify=false', `docker://${reference}`, `dir:${copy}`]);
    const manifest = JSON.parse(await readFile(join(copy, 'manifest.json'), 'utf8'));
    const config = JSON.parse(await readFile(join(copy, manifest.config.digest.replace('sha256:', '')), 'utf8'));
    equal(config.architecture, architecture);
    const environment = { DOCKER_HOST: engine.host };
    await execa('docker', ['pull', '--quiet', '--platform', `linux/${architecture}`, reference], { env: environment });
    const { stdout } = await execa('docker', ['image', 'inspect', '--format', '{{.Architecture}}', reference], {
      env: environment,
    });
    equal(stdout, architecture);
  }
});

test('readImageIndex() refuses a damaged blob, and one that nothing refers to', async () => {
  const layout = join(scratch, 'layout');
  await mkdir(layout);
  await execa('tar', ['--extract', '--file', join(release, 'tink-worker.oci.tar'), '--directory', layout]);
  const pack = async () => {
    const path = join(scratch, 'changed.oci.tar');
    await execa('tar', ['--create', '--file', path, '--directory', layout, '.']);
    return path;
  };
  const stray = join(layout, 'blobs/sha256', '0'.repeat(64));
  await writeFile(stray, '');
  await rejects(readImageIndex(await pack()), /nothing refers to its blob 0000/);
  await rm(stray);
  const [blob = ''] = await readdir(join(layout, 'blobs/sha256'));
  await appendFile(join(layout, 'blobs/sha256', blob), ' ');
  await rejects(readImageIndex(await pack()), new RegExp(`its blob sha256:${blob} is damaged`));
});

test('a package has its executable, links to it, manual pages and completions; its files are of root', async () => {
  const names = (await readdir(release)).filter((name) => name.endsWith('.deb'));
  equal(names.length, 4);
  for (const name of names) {
    const { stdout } = await execa('dpkg-deb', ['--field', join(release, name), 'Maintainer']);
    equal(stdout, maintainer);
  }
  const installed = join(scratch, 'installed');
  for (const name of names.filter((one) => one.endsWith(`_${process.arch === 'x64' ? 'amd64' : 'arm64'}.deb`)))
    await execa('dpkg-deb', ['--extract', join(release, name), installed]);
  for (const program of ['flatcar-install', 'image2disk', 'tink-agent', 'tink-worker']) {
    const { stdout } = await execa(join(installed, 'usr/sbin', program), ['--version']);
    ok(stdout.startsWith(`${program} (nibs) `));
    const page = await execa('man', [
      '--warnings',
      '--local-file',
      join(installed, `usr/share/man/man8/${program}.8.gz`),
    ]);
    equal(page.stderr, '');
    match(page.stdout, new RegExp(`^${program.toUpperCase()}|^TINK-AGENT`));
    if (program === 'image2disk') continue; // has no options
    const completion = await readFile(join(installed, `usr/share/bash-completion/completions/${program}`), 'utf8');
    match(completion, new RegExp(`^complete .* ${program}$`, 'm'));
  }
});

testDropIns(() => release);
