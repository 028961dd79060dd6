/** Several mirrors, of which the first has something else than a good image. */
import assert from 'node:assert/strict';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { createLoopDevice } from '../sandbox/loop-device.ts';
import { type Mirror, startMirror } from '../sandbox/mirror.ts';
import { imageFile, makeSignedRelease, publish, type SignedRelease } from '../sandbox/signed-release.ts';
import { runInstaller } from './run.ts';

let release: SignedRelease;
before(async () => {
  release = await makeSignedRelease();
});
after(() => release[Symbol.asyncDispose]());

const page = Buffer.from('<html><body>Please log in</body></html>');

async function startRelease(): Promise<Mirror> {
  const mirror = await startMirror();
  publish(mirror, release);
  return mirror;
}

/** A byte in the middle of the compressed image is another one. */
function flipped(): Buffer {
  const bytes = Buffer.from(release.compressed);
  bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 0x10, bytes.length >> 1);
  return bytes;
}

const faults: Readonly<Record<string, readonly [spoil: (mirror: Mirror) => void, why: RegExp]>> = {
  'a truncated image': [
    (mirror) => mirror.put(imageFile, release.compressed.subarray(0, release.compressed.length >> 1)),
    /signature/,
  ],
  'a flipped bit': [(mirror) => mirror.put(imageFile, flipped()), /signature/],
  'a page in place of the image': [(mirror) => mirror.put(imageFile, page), /signature/],
  'a page in place of the signature': [
    (mirror) => mirror.put(`${imageFile}.sig`, page),
    /it is not an OpenPGP signature/,
  ],
  'a page in place of version.txt': [
    (mirror) => mirror.put('/current/version.txt', page),
    /version\.txt unavailable: the file has no FLATCAR_VERSION/,
  ],
  'redirects in a circle': [
    (mirror) => mirror.fail(imageFile, ...Array(30).fill({ redirectTo: `${mirror.url}${imageFile}` })),
    /more than 20 redirects/,
  ],
};

for (const [name, [spoil, why]] of Object.entries(faults)) {
  test(`flatcar-install -D goes on with the next mirror where one has ${name}`, async () => {
    await using bad = await startRelease();
    await using good = await startRelease();
    spoil(bad);
    const args = ['-b', bad.url, '-b', good.url, '-k', release.keyPath, '--tries', '1'];
    const ran = await runInstaller(release.directory, ['-D', ...args]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    const warning = ran.stderr.split('\n').find((line) => line.startsWith(`Warning: ${bad.url}`)) ?? '';
    assert.match(warning, why, ran.stderr);
    const path = join(release.directory, 'flatcar_production_image.bin.bz2');
    assert.ok((await readFile(path)).equals(release.compressed));
    await rm(path);
  });
}

test('flatcar-install writes the image of the second mirror where the first has a damaged one', async () => {
  await using bad = await startRelease();
  await using good = await startRelease();
  bad.put(imageFile, flipped());
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  const args = ['-d', disk.path, '-b', bad.url, '-b', good.url, '-k', release.keyPath, '--tries', '1'];
  const ran = await runInstaller(release.directory, args);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(ran.stderr, new RegExp(`^Warning: ${bad.url}${imageFile}: .*; trying ${good.url}${imageFile}$`, 'm'));
  await execa('cmp', ['--bytes', `${release.imageBytes}`, disk.path, release.imagePath]);
});

test('flatcar-install names each mirror and its fault where none has a good image', async () => {
  await using first = await startRelease();
  await using second = await startRelease();
  first.put(imageFile, flipped());
  second.put(`${imageFile}.sig`, page);
  const args = ['-b', first.url, '-b', second.url, '-k', release.keyPath, '--tries', '1'];
  const ran = await runInstaller(release.directory, ['-D', ...args]);
  assert.equal(ran.exitCode, 1);
  assert.match(ran.stderr, /^Error: cannot get a good image from any mirror: /m);
  for (const url of [first.url, second.url]) assert.ok(ran.stderr.includes(`${url}${imageFile}: `), ran.stderr);
});
