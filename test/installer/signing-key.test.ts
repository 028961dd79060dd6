import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../clock/system.ts';
import { createDownloadClient } from '../../installer/fetch/client.ts';
import { flatcarFingerprint, flatcarKeySources, keyFileSource } from '../../installer/signing-key.ts';
import { createVerifier } from '../../installer/verify.ts';
import { startMirror } from '../sandbox/mirror.ts';
import { createGpg } from '../sandbox/signing.ts';

const never = new AbortController().signal;

test('flatcarKeySources() looks on the mirror before it goes to flatcar.org, and trusts neither beyond the pinned primary key', async () => {
  await using mirror = await startMirror();
  await using gpg = await createGpg();
  const primary = await gpg.createPrimary('not-flatcar', { usage: 'cert,sign' });
  const keys = await gpg.exportKeys(primary);
  mirror.put('/images/Flatcar_Image_Signing_Key.asc', keys);
  using client = createDownloadClient();
  const sources = flatcarKeySources(client, [new URL(`${mirror.url}/images`)]);
  assert.deepEqual(
    sources.map(({ origin, pinnedFingerprint }) => [origin, pinnedFingerprint]),
    [
      [`${mirror.url}/images/Flatcar_Image_Signing_Key.asc`, flatcarFingerprint],
      ['https://www.flatcar.org/security/image-signing-key/Flatcar_Image_Signing_Key.asc', flatcarFingerprint],
    ],
  );
  const [onMirror] = sources;
  assert.ok(onMirror !== undefined && keys.equals(await onMirror.read(never)));

  const bytes = await gpg.sign(Buffer.from('image'), [primary]);
  await assert.rejects(
    createVerifier({ bytes, origin: 'image.sig' }, [onMirror], systemClock, never),
    new RegExp(
      `cannot trust the signature image\\.sig: cannot use the signing key of http\\S+: it has no key with the fingerprint ${flatcarFingerprint}`,
    ),
  );
});

test('flatcarKeySources() goes to flatcar.org alone without a mirror', () => {
  using client = createDownloadClient();
  assert.deepEqual(
    flatcarKeySources(client, []).map(({ origin }) => new URL(origin).hostname),
    ['www.flatcar.org'],
  );
});

test('keyFileSource() trusts all keys of the file', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-key-'));
  try {
    const path = join(directory, 'key.asc');
    await writeFile(path, 'a key');
    const source = keyFileSource(path);
    assert.deepEqual([source.origin, source.pinnedFingerprint], [path, undefined]);
    assert.equal(Buffer.from(await source.read(never)).toString(), 'a key');
    await assert.rejects(
      keyFileSource(directory).read(never),
      /cannot read the signing key .*EISDIR.*\(give a readable file with -k\)/,
    );
  } finally {
    await rm(directory, { recursive: true });
  }
});
