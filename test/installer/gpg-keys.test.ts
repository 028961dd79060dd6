import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startMirror } from '../sandbox/mirror.ts';
import { imageFile, releaseVersion } from '../sandbox/signed-release.ts';
import { createGpg, type Gpg, type KeyOptions } from '../sandbox/signing.ts';
import { runExecutable } from './run.ts';

const image = Buffer.from('not compressed, as an image of lines\nmay be\r\n');

let gpg: Gpg;
let directory: string;
before(async () => {
  gpg = await createGpg();
  directory = await mkdtemp(join(tmpdir(), 'nibs-gpg-keys-'));
});
after(async () => {
  await gpg[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

/** What `flatcar-install -D` says of an image with a signature by a new key; gpg takes it. */
async function download(algorithm: NonNullable<KeyOptions['algorithm']>, textMode = false) {
  const key = await gpg.createPrimary(`${algorithm}`, { algorithm, usage: 'cert,sign' });
  const keys = await gpg.exportKeys(key);
  const signature = await gpg.sign(image, [key], { textMode });
  assert.deepEqual(await gpg.verify(keys, signature, image), ['GOODSIG'], 'gpg takes it');
  await using mirror = await startMirror();
  mirror.put(imageFile, image);
  mirror.put(`${imageFile}.sig`, signature);
  const keyFile = join(directory, 'key.asc');
  await writeFile(keyFile, keys);
  return await runExecutable(['-D', '-b', mirror.url, '-V', releaseVersion, '-k', keyFile], directory);
}

for (const algorithm of ['ed25519', 'rsa2048', 'nistp256/ecdsa', 'nistp384/ecdsa', 'nistp521/ecdsa'] as const) {
  test(`the executable verifies a signature that gpg makes with ${algorithm}`, async () => {
    const { exitCode, stdout, stderr } = await download(algorithm);
    assert.equal(exitCode, 0, stderr);
    assert.match(stdout, /^Success! .* is downloaded and verified$/m);
  });
}

for (const [algorithm, textMode, why] of [
  ...['brainpoolP256r1', 'brainpoolP384r1', 'brainpoolP512r1', 'secp256k1'].map(
    (curve) =>
      [
        `${curve}/ecdsa`,
        false,
        new RegExp(
          `: its key \\w{16} is on the curve ${curve}, which is not supported: sign with RSA, Ed25519 or ECDSA on a curve of NIST \\(give`,
        ),
      ] as const,
  ),
  ['dsa2048', false, /: its key \w{16} was not valid when it was made: .*dsa keys are considered too weak\. \(give/],
  ['rsa3072', true, /: it is a signature of a text \(gpg --textmode\), in which line ends do not count \(give/],
] as const) {
  test(`the executable refuses a signature by ${algorithm}${textMode ? ' of a text' : ''} in plain words`, async () => {
    const { exitCode, stdout, stderr } = await download(algorithm, textMode);
    assert.deepEqual([exitCode, stdout], [1, '']);
    assert.match(stderr, why);
    assert.equal(stderr.trim().split('\n').length, 1);
  });
}
