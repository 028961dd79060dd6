import { createHash, type Hash } from 'node:crypto';
import type { Key, Signature, SignaturePacket, Subkey } from 'openpgp';
import type { Clock } from '../clock/clock.ts';
import { reasonOf } from '../errors/reason.ts';
import { InstallError } from './errors.ts';
import type { KeySource } from './signing-key.ts';

/** The signer. Fingerprints are upper-case hexadecimal digits. */
export interface SignedBy {
  readonly primaryFingerprint: string;
  /** The key that made the signature: the primary key or one of its subkeys. */
  readonly signingFingerprint: string;
  readonly created: Date;
}

/** Verifies one detached signature of a stream that is not kept in memory. */
export interface Verifier {
  /** Passes the bytes of `source` through while they are hashed. Can be called once. */
  watch(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array>;
  /**
   * Resolves when the bytes of {@link watch} have been read to their end.
   * @throws {InstallError} this is not a signature of these bytes by a trusted key
   */
  verified(): Promise<SignedBy>;
}

/** A detached signature (binary or armoured), and where it came from, for messages. */
export interface SignatureFile {
  readonly bytes: Uint8Array;
  readonly origin: string;
}

/** A signature that names a trusted key. The signed bytes show whether that key made it. */
interface Candidate {
  readonly packet: SignaturePacket;
  readonly signingKey: Key | Subkey;
  readonly hash: Hash;
  readonly signedBy: SignedBy;
}

/** The library is large, and help and wrong options do not need it. */
const loadOpenpgp = () => import('openpgp');
type Openpgp = Awaited<ReturnType<typeof loadOpenpgp>>;

/**
 * Prepares to verify `signature` with the keys of the first of `sources` that has a matching one.
 * What can be decided without the signed bytes is refused here, before anything is written: no
 * signature by a trusted key, a revoked key, a key that was not valid when the signature was made,
 * a weak hash algorithm. As in gpg, a key that expired after it made the signature is accepted.
 * Unlike with gpg's exit code, a revoked key is refused for every reason of revocation.
 * @throws {InstallError} with the reason for each of `sources`
 */
export async function createVerifier(
  signature: SignatureFile,
  sources: readonly KeySource[],
  clock: Clock,
  signal: AbortSignal,
): Promise<Verifier> {
  const openpgp = await loadOpenpgp();
  const parsed = await readSignature(openpgp, signature);
  const refusals: string[] = [];
  for (const source of sources) {
    try {
      const keys = await readKeys(openpgp, source, signal);
      const candidates = await findCandidates(openpgp, parsed, keys, source, signature, clock.now());
      return watchFor(openpgp, candidates, signature);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof InstallError)) throw error;
      refusals.push(error.target === signature.origin ? error.why : error.message);
    }
  }
  throw refused(signature, refusals.join('; '), 'give the right key with -k FILE');
}

async function readSignature(openpgp: Openpgp, { bytes, origin }: SignatureFile): Promise<Signature> {
  try {
    return isArmored(bytes)
      ? await openpgp.readSignature({ armoredSignature: new TextDecoder().decode(bytes) })
      : await openpgp.readSignature({ binarySignature: bytes });
  } catch (cause) {
    throw new InstallError({
      what: 'read the signature',
      target: origin,
      why: 'it is not an OpenPGP signature',
      hint: 'check the mirror of -b, or use another',
      cause,
    });
  }
}

async function readKeys(openpgp: Openpgp, source: KeySource, signal: AbortSignal): Promise<Key[]> {
  const bytes = await source.read(signal);
  const unusable = (why: string, cause?: unknown) =>
    new InstallError({ what: 'use the signing key of', target: source.origin, why, cause });
  let keys: Key[];
  try {
    keys = isArmored(bytes)
      ? await openpgp.readKeys({ armoredKeys: new TextDecoder().decode(bytes) })
      : await openpgp.readKeys({ binaryKeys: bytes });
  } catch (cause) {
    throw unusable(`it is not an OpenPGP public key: ${reasonOf(cause)}`, cause);
  }
  const pin = source.pinnedFingerprint;
  const trusted = pin === undefined ? keys : keys.filter((key) => fingerprintOf(key) === pin);
  if (trusted.length === 0) throw unusable(`it has no key with the fingerprint ${pin ?? '(any)'}`);
  return trusted;
}

function isArmored(bytes: Uint8Array): boolean {
  return new TextDecoder('latin1').decode(bytes.subarray(0, 1024)).includes('-----BEGIN PGP');
}

async function findCandidates(
  openpgp: Openpgp,
  signature: Signature,
  keys: readonly Key[],
  source: KeySource,
  file: SignatureFile,
  now: Date,
): Promise<Candidate[]> {
  const candidates: Candidate[] = [];
  const refusals: string[] = [];
  for (const packet of signature.packets.filterByTag(openpgp.enums.packet.signature)) {
    try {
      candidates.push(await checkWithoutBytes(openpgp, packet, keys, source, now));
    } catch (error) {
      refusals.push(reasonOf(error));
    }
  }
  if (candidates.length > 0) return candidates;
  throw refused(file, refusals.length === 0 ? 'there is no signature in it' : refusals.join('; '));
}

/**
 * @throws {Error} with the reason why the signature cannot be valid for any signed bytes
 */
async function checkWithoutBytes(
  openpgp: Openpgp,
  packet: SignaturePacket,
  keys: readonly Key[],
  source: KeySource,
  now: Date,
): Promise<Candidate> {
  const { issuerKeyID: keyId, hashAlgorithm, created, version, signatureType } = packet;
  const keyName = keyId.toHex().toUpperCase();
  const key = keys.find((key) => key.getKeys(keyId).length > 0);
  if (key === undefined) throw new Error(`it is signed by key ${keyName}, which is not in ${source.origin}`);
  if (hashAlgorithm === null || openpgp.config.rejectMessageHashAlgorithms.has(hashAlgorithm)) {
    throw new Error(`its hash algorithm is too weak`);
  }
  if (version !== 4 || signatureType !== openpgp.enums.signature.binary || created === null) {
    throw new Error('it is not a version 4 signature of a binary file');
  }
  if (created > now) {
    throw new Error(
      `it was made at ${created.toISOString()}, but the clock of this machine says ${now.toISOString()} (set the clock)`,
    );
  }
  if (await isRevoked(openpgp, key, packet)) throw new Error(`its key ${keyName} was revoked`);
  try {
    const signingKey = await key.getSigningKey(keyId, created);
    const signedBy = { primaryFingerprint: fingerprintOf(key), signingFingerprint: fingerprintOf(signingKey), created };
    const hashName = openpgp.enums.read(openpgp.enums.hash, hashAlgorithm).replace('_', '-');
    return { packet, signingKey, hash: createHash(hashName), signedBy };
  } catch (cause) {
    throw new Error(`its key ${keyName} was not valid when it was made: ${reasonOf(cause)}`, { cause });
  }
}

/** The library accepts signatures from before a key was retired. Here every revocation is final. */
async function isRevoked(openpgp: Openpgp, key: Key, packet: SignaturePacket): Promise<boolean> {
  const endOfTime = new Date(Date.UTC(9999, 0));
  if (await key.isRevoked(undefined, undefined, endOfTime)) return true;
  const revocations = key.getSubkeys(packet.issuerKeyID).flatMap((subkey) =>
    subkey.revocationSignatures.map((revocation) => {
      const revoked = { key: key.keyPacket, bind: subkey.keyPacket };
      return revocation.verify(key.keyPacket, openpgp.enums.signature.subkeyRevocation, revoked, endOfTime);
    }),
  );
  // Only a revocation that the primary key really made counts.
  return (await Promise.allSettled(revocations)).some(({ status }) => status === 'fulfilled');
}

function watchFor(openpgp: Openpgp, candidates: readonly Candidate[], file: SignatureFile): Verifier {
  const verified = Promise.withResolvers<SignedBy>();
  // After a read error the error is reported instead, and verified() may never be awaited.
  verified.promise.catch(() => {});
  return {
    async *watch(source) {
      try {
        for await (const chunk of source) {
          for (const { hash } of candidates) hash.update(chunk);
          yield chunk;
        }
        verified.resolve(findValid(openpgp, candidates, file));
      } finally {
        verified.reject(refused(file, 'the signed data was not read to its end'));
      }
    },
    verified: () => verified.promise,
  };
}

/** One valid signature by a trusted key is enough; the others are ignored. */
async function findValid(openpgp: Openpgp, candidates: readonly Candidate[], file: SignatureFile): Promise<SignedBy> {
  const failures: unknown[] = [];
  for (const candidate of candidates) {
    try {
      await checkDigest(openpgp, candidate);
      return candidate.signedBy;
    } catch (error) {
      failures.push(error);
    }
  }
  const keys = candidates.map(({ signedBy }) => signedBy.signingFingerprint).join(', ');
  throw new InstallError({
    what: 'verify',
    target: file.origin,
    why: `it is not a valid signature of this data by ${keys}`,
    hint: 'the download is damaged or not authentic; try again or use another mirror',
    cause: new AggregateError(failures, failures.map(reasonOf).join('; ')),
  });
}

/**
 * Verifies the signature of the bytes hashed so far (RFC 4880 section 5.2.4: the document is
 * followed by the hashed fields of the signature and a trailer with their length). Hashing here
 * keeps the bytes out of the queues of the library. If the library ignored the digest, it would
 * hash the empty document below, which fails.
 */
async function checkDigest(openpgp: Openpgp, { packet, signingKey, hash }: Candidate): Promise<void> {
  const fields = packet.signatureData ?? new Uint8Array();
  const trailer = Buffer.of(4, 0xff, 0, 0, 0, 0);
  trailer.writeUInt32BE(fields.length, 2);
  const hashed = hash.update(fields).update(trailer).digest();
  Object.assign(packet, { hashed });
  const nothing = new openpgp.LiteralDataPacket();
  await packet.verify(signingKey.keyPacket, openpgp.enums.signature.binary, nothing, undefined, true);
}

function fingerprintOf(key: { getFingerprint(): string }): string {
  return key.getFingerprint().toUpperCase();
}

function refused(file: SignatureFile, why: string, hint?: string): InstallError {
  return new InstallError({ what: 'trust the signature', target: file.origin, why, hint });
}
