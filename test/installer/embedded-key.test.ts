import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { createLoopDevice } from '../sandbox/loop-device.ts';
import { startMirror } from '../sandbox/mirror.ts';
import { imageFile, makeSignedRelease, publish, type SignedRelease } from '../sandbox/signed-release.ts';

const root = join(import.meta.dirname, '../..');

let release: SignedRelease;
let executable: string;
before(async () => {
  release = await makeSignedRelease();
  const output = join(release.directory, 'build');
  await mkdir('/tmp/nibs-executable', { recursive: true });
  // The build works in a fixed directory; this one has it for itself, whatever else is being built.
  const alone = 'mount -t tmpfs tmpfs /tmp/nibs-executable && exec "$@"';
  const build = [process.execPath, join(root, 'executable/build.ts'), '--output', output];
  await execa('unshare', ['--mount', 'sh', '-c', alone, 'sh', ...build], { env: { SIGNING_KEY: release.keyPath } });
  executable = join(output, 'flatcar-install');
});
after(async () => {
  await release[Symbol.asyncDispose]();
});

async function install(...args: string[]) {
  await using mirror = await startMirror();
  publish(mirror, release);
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  const ran = await execa(executable, ['-d', disk.path, '-b', mirror.url, '--tries', '1', ...args], { reject: false });
  return { ...ran, requests: mirror.requests.map(({ path }) => path) };
}

test('an executable built with a key needs no other, as long as that has the fingerprint to be trusted', async () => {
  const good = await install('--key-fingerprint', release.primary);
  assert.equal(good.exitCode, 0, good.stderr);
  assert.match(good.stderr, new RegExp(`^Good signature by ${release.subkey} `, 'm'));
  // The mirror is asked for revocations newer than the executable; it need not have the key.
  const key = '/Flatcar_Image_Signing_Key.asc';
  assert.deepEqual(good.requests, ['/current/version.txt', imageFile, `${imageFile}.sig`, key]);
});

test('a key built into the executable is not trusted in place of the one with the pinned fingerprint', async () => {
  const refused = await install();
  assert.equal(refused.exitCode, 1);
  assert.match(
    refused.stderr,
    /^Error: cannot trust the signature \S+: cannot use the signing key of the key in this program: it has no key with the fingerprint F88CFEDEFF29A5B4D9523864E25D9AED0593B34A; /m,
  );
});

test('an executable built with the key of last year finds the subkey of this year on the mirror', async () => {
  const rotated = await release.gpg.addSubkey(release.primary, { algorithm: 'rsa2048' });
  await using mirror = await startMirror();
  publish(mirror, { ...release, signature: await release.gpg.sign(release.compressed, [rotated]) });
  const keys = join(release.directory, 'rotated.asc');
  await writeFile(keys, await release.gpg.exportKeys(release.primary));
  mirror.put('/Flatcar_Image_Signing_Key.asc', await readFile(keys));
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  const args = ['-d', disk.path, '-b', mirror.url, '--key-fingerprint', release.primary];
  const { stderr } = await execa(executable, args);
  assert.match(stderr, new RegExp(`^Good signature by ${rotated} \\(primary key ${release.primary}\\), made at `, 'm'));
});
