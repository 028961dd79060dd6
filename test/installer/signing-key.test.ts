import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../clock/system.ts';
import { createDownloadClient } from '../../installer/fetch/client.ts';
import { createKeyRing, fingerprintOf, isRevoked, loadOpenpgp } from '../../installer/key-ring.ts';
import { flatcarFingerprint, flatcarKeySources, keyFileSource } from '../../installer/signing-key.ts';
import { createVerifier } from '../../installer/verify.ts';
import { startMirror } from '../sandbox/mirror.ts';
import { createGpg } from '../sandbox/signing.ts';

const never = new AbortController().signal;

test('flatcarKeySources() has the key in this program, the mirrors and flatcar.org, and trusts none beyond the pinned primary key', async () => {
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
      ['the key in this program', flatcarFingerprint],
      [`${mirror.url}/images/Flatcar_Image_Signing_Key.asc`, flatcarFingerprint],
      ['https://www.flatcar.org/security/image-signing-key/Flatcar_Image_Signing_Key.asc', flatcarFingerprint],
    ],
  );
  const [, onMirror] = sources;
  assert.ok(onMirror !== undefined && keys.equals(await onMirror.read(never)));

  const bytes = await gpg.sign(Buffer.from('image'), [primary]);
  await assert.rejects(
    createVerifier({ bytes, origin: 'image.sig' }, [onMirror], systemClock, never),
    new RegExp(
      `cannot trust the signature image\\.sig: cannot use the signing key of http\\S+: it has no key with the fingerprint ${flatcarFingerprint}`,
    ),
  );
});

test('flatcarKeySources() asks only flatcar.org without a mirror', () => {
  using client = createDownloadClient();
  assert.deepEqual(
    flatcarKeySources(client, []).map(({ origin }) => origin),
    ['the key in this program', 'https://www.flatcar.org/security/image-signing-key/Flatcar_Image_Signing_Key.asc'],
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

/** Subkeys of Flatcar's signing key, by their ids. */
const flatcarSubkeys = {
  B51DE377064D542D: 'revoked',
  '603443A1D0FC498C': 'revoked',
  A8ABF005896E394F: 'valid once',
  '3BC20FF8AF9CF1AF': 'valid once',
  '5B2910CBFCBEAB91': 'valid once',
  '961DDDD5250D4A42': 'valid once',
  EDBDF411267EC954: 'valid once',
  '85F7C8868837E271': 'valid once',
  '32DA80F91EF52974': 'valid once',
};

test("the key in this program is Flatcar's, with the revocations of two of its subkeys", async () => {
  using client = createDownloadClient();
  const [embedded] = flatcarKeySources(client, []);
  assert.ok(embedded !== undefined);
  const bytes = await embedded.read(never);
  const openpgp = await loadOpenpgp();
  const ring = createKeyRing(openpgp);
  await ring.add(embedded, bytes);
  const keys = await openpgp.readKeys({ armoredKeys: Buffer.from(bytes).toString() });
  assert.deepEqual(keys.map(fingerprintOf), [flatcarFingerprint]);
  const states = keys.flatMap(({ subkeys }) =>
    subkeys.map(async (subkey) => {
      const keyId = subkey.getKeyID();
      const key = ring.find(keyId);
      assert.ok(key !== undefined);
      await key.getSigningKey(keyId, new Date(subkey.getCreationTime().getTime() + 3_600_000)).catch((error) => {
        assert.match(String(error), /revoked/);
      });
      return [keyId.toHex().toUpperCase(), (await isRevoked(openpgp, key, keyId)) ? 'revoked' : 'valid once'];
    }),
  );
  assert.deepEqual(Object.fromEntries(await Promise.all(states)), flatcarSubkeys);
});

test('a server with keys is asked once, in limited time and without notices; it is read with retries', async () => {
  await using mirror = await startMirror();
  const path = '/Flatcar_Image_Signing_Key.asc';
  mirror.put(path, Buffer.from('a key'));
  const notices: string[] = [];
  using client = createDownloadClient({ timeoutSeconds: 0.3, pauseSeconds: () => 0, onRetry: (n) => notices.push(n) });
  const [, source] = flatcarKeySources(client, [new URL(mirror.url)]);
  assert.ok(source?.ask !== undefined);
  mirror.fail(path, { status: 503 }, { stallAfterBytes: 2 });
  await assert.rejects(source.ask(never), /cannot download the signing key \S+: .*503/);
  await assert.rejects(source.ask(never), /cannot download the signing key \S+: .*within 0\.3 s/);
  assert.deepEqual(notices, []);
  mirror.fail(path, { status: 503 });
  assert.equal(Buffer.from(await source.read(never)).toString(), 'a key');
  assert.equal(notices.length, 1);
});
