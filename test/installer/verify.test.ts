import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { systemClock } from '../../clock/system.ts';
import type { KeySource } from '../../installer/signing-key.ts';
import { createVerifier, type SignedBy } from '../../installer/verify.ts';
import { createGpg, type Gpg, type SignOptions } from '../sandbox/signing.ts';

const image = randomBytes(3_000_000);
const never = new AbortController().signal;

let gpg: Gpg;
before(async () => {
  gpg = await createGpg();
});
after(async () => {
  await gpg[Symbol.asyncDispose]();
});

/** Pieces as a socket hands them out. */
async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += 65_536) yield bytes.subarray(offset, offset + 65_536);
}

function keySource(keys: Uint8Array, pinnedFingerprint?: string): KeySource {
  const pin = pinnedFingerprint === undefined ? {} : { pinnedFingerprint };
  return { origin: 'keys.asc', read: async () => keys, ...pin };
}

async function verify(
  signature: Uint8Array,
  sources: readonly KeySource[],
  bytes: Uint8Array = image,
): Promise<SignedBy> {
  const verifier = await createVerifier({ bytes: signature, origin: 'image.sig' }, sources, systemClock, never);
  const passed = Buffer.concat(await Array.fromAsync(verifier.watch(pieces(bytes))));
  assert.ok(passed.equals(bytes), 'the bytes pass unchanged');
  return verifier.verified();
}

/** Our verdict and gpg's on the same three files. */
async function bothVerdicts(keys: Uint8Array, signature: Uint8Array, bytes: Uint8Array = image) {
  const ours = await verify(signature, [keySource(keys)], bytes).then(
    ({ signingFingerprint }) => ({ good: true, says: signingFingerprint }),
    (error: Error) => ({ good: false, says: error.message }),
  );
  return { ...ours, gpg: await gpg.verify(keys, signature, bytes) };
}

for (const algorithm of ['ed25519', 'rsa2048', 'rsa3072', 'nistp256/ecdsa'] as const) {
  for (const armor of [false, true]) {
    test(`createVerifier() holds with gpg on ${algorithm}, ${armor ? 'armoured' : 'binary'}`, async () => {
      const primary = await gpg.createPrimary(`plain-${algorithm}-${armor}`, { algorithm });
      const subkey = await gpg.addSubkey(primary, { algorithm });
      const keys = await gpg.exportKeys(primary);
      const signature = await gpg.sign(image, [subkey], { armor });
      assert.deepEqual(await bothVerdicts(keys, signature), { good: true, says: subkey, gpg: ['GOODSIG'] });

      const altered = Buffer.from(image);
      altered[2_000_000] = (altered[2_000_000] ?? 0) ^ 1;
      for (const wrong of [altered, image.subarray(1), image.subarray(0, -1), Buffer.concat([image, Buffer.of(0)])]) {
        const bad = await bothVerdicts(keys, signature, wrong);
        assert.deepEqual([bad.good, bad.gpg], [false, ['BADSIG']]);
        assert.match(
          bad.says,
          /cannot verify image\.sig: it is not a valid signature of this data by \w+ \(the download is damaged/,
        );
      }
    });
  }
}

test('createVerifier() takes a signature by the primary key itself', async () => {
  const primary = await gpg.createPrimary('no-subkey', { usage: 'cert,sign' });
  const verdict = await bothVerdicts(await gpg.exportKeys(primary), await gpg.sign(image, [primary]));
  assert.deepEqual(verdict, { good: true, says: primary, gpg: ['GOODSIG'] });
});

test('createVerifier() refuses a key it was not given, before any byte is read', async () => {
  const [trusted, other] = [await gpg.createPrimary('trusted'), await gpg.createPrimary('other')];
  await gpg.addSubkey(trusted);
  const stranger = await gpg.addSubkey(other);
  const verdict = await bothVerdicts(await gpg.exportKeys(trusted), await gpg.sign(image, [stranger]));
  assert.deepEqual([verdict.good, verdict.gpg], [false, ['ERRSIG']]);
  assert.match(
    verdict.says,
    new RegExp(
      `cannot trust the signature image\\.sig: it is signed by key ${stranger.slice(-16)}, which is not in keys`,
    ),
  );
});

test('createVerifier() takes an old signature of a key that has expired since, as gpg does', async () => {
  const primary = await gpg.createPrimary('aged', { at: '20200101T000000' });
  const subkey = await gpg.addSubkey(primary, { at: '20200101T000000', expires: '1y' });
  const signature = await gpg.sign(image, [subkey], { at: '20200601T000000' });
  const verdict = await bothVerdicts(await gpg.exportKeys(primary), signature);
  assert.deepEqual(verdict, { good: true, says: subkey, gpg: ['EXPKEYSIG'] });
});

test('createVerifier() refuses a signature made after the key expired, which gpg cannot tell from the former', async () => {
  const primary = await gpg.createPrimary('late', { at: '20200101T000000' });
  const subkey = await gpg.addSubkey(primary, { at: '20200101T000000' });
  const signature = await gpg.sign(image, [subkey], { at: '20220101T000000' });
  await gpg.expireSubkey(primary, subkey, '20210101T000000');
  const verdict = await bothVerdicts(await gpg.exportKeys(primary), signature);
  assert.deepEqual([verdict.good, verdict.gpg], [false, ['EXPKEYSIG']]);
  assert.match(verdict.says, /its key \w{16} was not valid when it was made: .*expired/i);
});

for (const [reason, word] of [
  [1, 'compromised'],
  [2, 'superseded'],
  [3, 'no longer used'],
] as const) {
  test(`createVerifier() refuses a revoked subkey (${word}), unlike gpg's exit code`, async () => {
    const primary = await gpg.createPrimary(`revoked-${reason}`);
    const subkey = await gpg.addSubkey(primary);
    const signature = await gpg.sign(image, [subkey]);
    await gpg.revokeSubkey(primary, subkey, reason);
    const verdict = await bothVerdicts(await gpg.exportKeys(primary), signature);
    assert.deepEqual([verdict.good, verdict.gpg], [false, ['REVKEYSIG']]);
    assert.match(verdict.says, /its key \w{16} was revoked/);
  });
}

test("createVerifier() refuses a subkey whose primary key was revoked, unlike gpg's exit code", async () => {
  const primary = await gpg.createPrimary('revoked-primary');
  const subkey = await gpg.addSubkey(primary);
  const signature = await gpg.sign(image, [subkey]);
  await gpg.revokePrimary(primary);
  const verdict = await bothVerdicts(await gpg.exportKeys(primary), signature);
  assert.deepEqual([verdict.good, verdict.gpg], [false, ['REVKEYSIG']]);
  assert.match(verdict.says, /its key \w{16} was revoked/);
});

test('createVerifier() takes an old signature of a subkey whose primary key has expired since, as gpg does', async () => {
  const primary = await gpg.createPrimary('aged-primary', { at: '20200101T000000', expires: '1y' });
  const subkey = await gpg.addSubkey(primary, { at: '20200101T000000' });
  const signature = await gpg.sign(image, [subkey], { at: '20200601T000000' });
  const verdict = await bothVerdicts(await gpg.exportKeys(primary), signature);
  assert.deepEqual(verdict, { good: true, says: subkey, gpg: ['EXPKEYSIG'] });
});

test('createVerifier() refuses SHA-1, unlike gpg', async () => {
  const primary = await gpg.createPrimary('sha1', { algorithm: 'rsa2048' });
  const subkey = await gpg.addSubkey(primary, { algorithm: 'rsa2048' });
  const options: SignOptions = { digest: 'SHA1' };
  const verdict = await bothVerdicts(await gpg.exportKeys(primary), await gpg.sign(image, [subkey], options));
  assert.deepEqual([verdict.good, verdict.gpg], [false, ['GOODSIG']]);
  assert.match(verdict.says, /its hash algorithm is too weak/);
});

test('createVerifier() refuses a signature from the future, one of another kind, and a file without one', async () => {
  const primary = await gpg.createPrimary('kinds');
  const subkey = await gpg.addSubkey(primary);
  const keys = [keySource(await gpg.exportKeys(primary))];
  const future = await gpg.sign(image, [subkey], { at: '20990101T000000' });
  await assert.rejects(
    verify(future, keys),
    /it was made at 2099-01-01T00:00:00\.000Z, but the clock of this machine says .*Z \(set the clock\)/,
  );
  // A packet with a length of one octet; then version and type (RFC 4880, 5.2.3).
  const signature = await gpg.sign(image, [subkey]);
  assert.deepEqual([...signature.subarray(2, 4)], [4, 0]);
  const changed = (at: number, byte: number) => Buffer.from(signature).fill(byte, at, at + 1);
  await assert.rejects(verify(changed(3, 2), keys), /it is not a version 4 signature of a binary file/);
  await assert.rejects(verify(changed(2, 3), keys), /cannot trust the signature .*: there is no signature in it/);
});

test('createVerifier() is content with one good signature among several', async () => {
  const [trusted, other] = [await gpg.createPrimary('several-a'), await gpg.createPrimary('several-b')];
  const subkey = await gpg.addSubkey(trusted);
  const revoked = await gpg.addSubkey(trusted);
  const stranger = await gpg.addSubkey(other);
  const signature = await gpg.sign(image, [stranger, revoked, subkey]);
  await gpg.revokeSubkey(trusted, revoked, 1);
  const keys = await gpg.exportKeys(trusted);
  const verdict = await bothVerdicts(keys, signature);
  assert.deepEqual(
    [verdict.good, verdict.says, verdict.gpg.toSorted()],
    [true, subkey, ['ERRSIG', 'GOODSIG', 'REVKEYSIG']],
  );
});

test('createVerifier() refuses a file of hundreds of signatures, each of which would hash the image', async () => {
  const primary = await gpg.createPrimary('many');
  const subkey = await gpg.addSubkey(primary);
  const signature = await gpg.sign(image, [subkey]);
  const keys = keySource(await gpg.exportKeys(primary));
  const times = (count: number) => Buffer.concat(Array<Buffer>(count).fill(signature));
  assert.equal((await verify(times(8), [keys])).signingFingerprint, subkey);
  await assert.rejects(verify(times(500), [keys]), /it has 500 signatures, more than 8/);
});

test('createVerifier() does not take a good signature by a key outside the pinned primary', async () => {
  const [pinned, other] = [await gpg.createPrimary('pinned'), await gpg.createPrimary('unpinned')];
  await gpg.addSubkey(pinned);
  const stranger = await gpg.addSubkey(other);
  const both = await gpg.exportKeys(pinned, other);
  const signature = await gpg.sign(image, [stranger]);
  assert.equal((await verify(signature, [keySource(both)])).primaryFingerprint, other);
  await assert.rejects(verify(signature, [keySource(both, pinned)]), /is signed by key \w+, which is not in keys\.asc/);
  const onlyOther = await gpg.exportKeys(other);
  await assert.rejects(verify(signature, [keySource(onlyOther, pinned)]), /it has no key with the fingerprint/);
});

test('createVerifier() takes the subkey of a new year under the same pinned primary, from the first place that has it', async () => {
  const primary = await gpg.createPrimary('yearly', { algorithm: 'rsa2048', at: '20230101T000000' });
  await gpg.addSubkey(primary, { algorithm: 'rsa2048', at: '20230101T000000', expires: '1y' });
  const embedded = keySource(await gpg.exportKeys(primary), primary);
  const rotated = await gpg.addSubkey(primary, { algorithm: 'rsa2048' });
  const published = keySource(await gpg.exportKeys(primary), primary);
  const signature = await gpg.sign(image, [rotated]);
  await assert.rejects(verify(signature, [embedded]), /is signed by key/);
  const { primaryFingerprint, signingFingerprint } = await verify(signature, [embedded, published]);
  assert.deepEqual([primaryFingerprint, signingFingerprint], [primary, rotated]);
});

/** A server with keys: it is asked at each verification, and answers when `answer` is settled. */
function keyServer(answer: Promise<Uint8Array> | Uint8Array, pinnedFingerprint: string): KeySource {
  const read = async () => await answer;
  return { origin: 'http://mirror/keys.asc', pinnedFingerprint, read, ask: read };
}

/** Keys of one primary key as they were before and after its subkey was revoked. */
async function revocation(name: string) {
  const primary = await gpg.createPrimary(name);
  const subkey = await gpg.addSubkey(primary);
  const signature = await gpg.sign(image, [subkey]);
  const before = await gpg.exportKeys(primary);
  await gpg.revokeSubkey(primary, subkey, 2);
  return { primary, signature, before, after: await gpg.exportKeys(primary) };
}

test('createVerifier() refuses a key that one source revoked, whatever the others have and in any order', async () => {
  const { primary, signature, before, after } = await revocation('merged');
  const [file, server] = [keySource, keyServer];
  for (const sources of [
    [file(after, primary), server(before, primary)],
    [file(before, primary), server(after, primary)],
    [server(before, primary), server(after, primary)],
    [server(after, primary), server(before, primary)],
    [file(before), { ...file(after), revocationsOnly: true }],
    [{ ...file(after), revocationsOnly: true }, file(before)],
  ])
    await assert.rejects(
      verify(signature, sources),
      /its key \w{16} was revoked \(do not install this image; use another mirror\)/,
    );
  await verify(signature, [file(before, primary), server(before, primary)]);
  await assert.rejects(verify(signature, [{ ...file(before), revocationsOnly: true }]), /cannot trust the signature/);
});

test('createVerifier() refuses at the end of the image what a slow server revoked meanwhile', async () => {
  const { primary, signature, before, after } = await revocation('late-news');
  const answer = Promise.withResolvers<Uint8Array>();
  const sources = [keySource(before, primary), keyServer(answer.promise, primary)];
  const verifier = await createVerifier({ bytes: signature, origin: 'image.sig' }, sources, systemClock, never);
  await Array.fromAsync(verifier.watch(pieces(image)));
  answer.resolve(after);
  await assert.rejects(verifier.verified(), /its key \w{16} was revoked/);
});

test('createVerifier() is not stopped by a server without the key, or with a revocation by another key', async () => {
  const { primary, signature, before } = await revocation('denied');
  const { PacketList, PublicKey, readKey } = await import('openpgp');
  const other = await revocation('denier');
  const [own, foreign] = await Promise.all(
    [before, other.after].map(async (key) => readKey({ armoredKey: key.toString() })),
  );
  assert.ok(own !== undefined && foreign !== undefined);
  own.subkeys[0]?.revocationSignatures.push(...(foreign.subkeys[0]?.revocationSignatures ?? []));
  const packets = new PacketList<ReturnType<typeof own.toPacketList>[number]>();
  packets.push(...own.toPacketList());
  const forged = new PublicKey(packets).write();
  for (const answer of [forged, other.before, Buffer.from('<html>')]) {
    assert.equal(
      (await verify(signature, [keySource(before, primary), keyServer(answer, primary)])).primaryFingerprint,
      primary,
    );
  }
});

test('createVerifier() goes by the newest expiry of a subkey, though a source has an older one', async () => {
  const primary = await gpg.createPrimary('shortened', { at: '20200101T000000' });
  const subkey = await gpg.addSubkey(primary, { at: '20200101T000000' });
  const before = await gpg.exportKeys(primary);
  const signature = await gpg.sign(image, [subkey], { at: '20220101T000000' });
  await gpg.expireSubkey(primary, subkey, '20210101T000000');
  const after = await gpg.exportKeys(primary);
  for (const sources of [
    [keySource(after, primary), keyServer(before, primary)],
    [keySource(before, primary), keyServer(after, primary)],
  ])
    await assert.rejects(verify(signature, sources), /was not valid when it was made: .*expired/i);
});

test('createVerifier() takes all armoured keys of a file, as gpg does', async () => {
  const [first, second] = [await gpg.createPrimary('block-a'), await gpg.createPrimary('block-b')];
  const subkeys = [await gpg.addSubkey(first), await gpg.addSubkey(second)];
  const blocks = [
    await gpg.exportKeys(first),
    Buffer.from('\nKey of the second mirror:\n\n'),
    await gpg.exportKeys(second),
  ];
  const keys = Buffer.concat(blocks);
  for (const subkey of subkeys) {
    const verdict = await bothVerdicts(keys, await gpg.sign(image, [subkey]));
    assert.deepEqual(verdict, { good: true, says: subkey, gpg: ['GOODSIG'] });
  }
  const damaged = Buffer.from(keys.toString().replace(/^m(\w)/m, 'mA'));
  const signature = await gpg.sign(image, subkeys.slice(1));
  await assert.rejects(verify(signature, [keySource(damaged)]), /keys\.asc: it is not an OpenPGP public key/);
});

test('createVerifier() heeds a revocation certificate in a file of keys, as gpg does', async () => {
  const primary = await gpg.createPrimary('certificate');
  const subkey = await gpg.addSubkey(primary);
  const signature = await gpg.sign(image, [subkey]);
  const keys = await gpg.exportKeys(primary);
  const certificate = await gpg.revocationCertificate(primary);
  const verdict = await bothVerdicts(Buffer.concat([keys, certificate]), signature);
  assert.deepEqual([verdict.good, verdict.gpg], [false, ['REVKEYSIG']]);
  assert.match(verdict.says, /its key \w{16} was revoked/);
});

test('createVerifier() does not take a subkey that the primary did not certify', async () => {
  const [pinned, attacker] = [await gpg.createPrimary('victim'), await gpg.createPrimary('attacker')];
  const stranger = await gpg.addSubkey(attacker);
  const signature = await gpg.sign(image, [stranger]);
  const { readKey, PacketList, PublicKey } = await import('openpgp');
  const [own, foreign] = await Promise.all(
    [pinned, attacker].map(async (key) => readKey({ armoredKey: (await gpg.exportKeys(key)).toString() })),
  );
  assert.ok(own !== undefined && foreign !== undefined);
  const packets = new PacketList<ReturnType<typeof own.toPacketList>[number]>();
  packets.push(...own.toPacketList(), ...foreign.toPacketList().slice(-2));
  const glued = new PublicKey(packets);
  await assert.rejects(
    verify(signature, [keySource(glued.write(), pinned)]),
    /its key \w+ was not valid when it was made|is signed by key/,
  );
});

test('createVerifier() says what a file is that is no signature or no key', async () => {
  const primary = await gpg.createPrimary('shape');
  const subkey = await gpg.addSubkey(primary);
  const signature = await gpg.sign(image, [subkey]);
  const keys = await gpg.exportKeys(primary);
  await assert.rejects(
    verify(Buffer.from('<html>'), [keySource(keys)]),
    /cannot read the signature image\.sig: it is not an OpenPGP signature/,
  );
  await assert.rejects(verify(Buffer.alloc(0), [keySource(keys)]), /image\.sig: /);
  await assert.rejects(
    verify(signature, [keySource(Buffer.from('<html>'))]),
    /cannot use the signing key of keys\.asc: it is not an OpenPGP public key/,
  );
});

test('createVerifier() passes the failure of the source on as it is, and then has no verdict', async () => {
  const primary = await gpg.createPrimary('broken');
  const subkey = await gpg.addSubkey(primary);
  const sources = [keySource(await gpg.exportKeys(primary))];
  const signature = { bytes: await gpg.sign(image, [subkey]), origin: 'image.sig' };
  const failure = new Error('the cable was cut');
  const verifier = await createVerifier(signature, sources, systemClock, never);
  const broken = async function* () {
    yield image.subarray(0, 100_000);
    throw failure;
  };
  await assert.rejects(Array.fromAsync(verifier.watch(broken())), (error) => error === failure);
  await assert.rejects(verifier.verified(), /was not read to its end/);
});

test('createVerifier() closes the source and has no verdict when its reader stops early', async () => {
  const primary = await gpg.createPrimary('early');
  const subkey = await gpg.addSubkey(primary);
  const sources = [keySource(await gpg.exportKeys(primary))];
  const signature = { bytes: await gpg.sign(image, [subkey]), origin: 'image.sig' };
  const verifier = await createVerifier(signature, sources, systemClock, never);
  let closed = false;
  const source = async function* () {
    try {
      yield* pieces(image);
    } finally {
      closed = true;
    }
  };
  for await (const piece of verifier.watch(source())) {
    assert.ok(piece.length > 0);
    break;
  }
  assert.ok(closed);
  await assert.rejects(verifier.verified(), /was not read to its end/);
});

test('createVerifier() holds back a fast source while its reader is slow, so that no image gathers in memory', async () => {
  const primary = await gpg.createPrimary('pressure');
  const subkey = await gpg.addSubkey(primary);
  const sources = [keySource(await gpg.exportKeys(primary))];
  const signature = { bytes: await gpg.sign(image, [subkey]), origin: 'image.sig' };
  const verifier = await createVerifier(signature, sources, systemClock, never);
  let [given, taken, maxAhead] = [0, 0, 0];
  const source = async function* () {
    for await (const piece of pieces(image)) {
      given += piece.length;
      maxAhead = Math.max(maxAhead, given - taken);
      yield piece;
    }
  };
  for await (const piece of verifier.watch(source())) {
    await new Promise((resolve) => setImmediate(resolve));
    taken += piece.length;
  }
  await verifier.verified();
  assert.ok(maxAhead <= 4 * 65_536, `${maxAhead} bytes ahead`);
});
