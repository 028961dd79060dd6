import { createHash, type Hash } from 'node:crypto';
import type { Key, Signature, SignaturePacket, Subkey } from 'openpgp';
import type { Clock } from '../clock/clock.ts';
import { reasonOf } from '../errors/reason.ts';
import { InstallError, UnknownSignerError, UntrustedError } from './errors.ts';
import { isNotFoundAnywhere } from './fetch/errors.ts';
import {
  createKeyRing,
  fingerprintOf,
  isArmored,
  isRevoked,
  type KeyRing,
  loadOpenpgp,
  type Openpgp,
} from './key-ring.ts';
import type { KeySource } from './signing-key.ts';

/** The signer. Fingerprints are upper-case hexadecimal digits. */
export interface SignedBy {
  readonly primaryFingerprint: string;
  /** The key that made the signature: the primary key or one of its subkeys. */
  readonly signingFingerprint: string;
  readonly created: Date;
}

/** For people. The date is the only thing signed that tells an old image from a new one. */
export function describeSigner({ signingFingerprint, primaryFingerprint, created }: SignedBy): string {
  return `Good signature by ${signingFingerprint} (primary key ${primaryFingerprint}), made at ${created.toISOString()}`;
}

/** Verifies one detached signature of a stream that is not kept in memory. */
export interface Verifier {
  /** Those whose signature it is, if it is valid: one of them is what {@link verified} returns. */
  readonly signers: readonly SignedBy[];
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

/** A release has one, and a second one while its key changes. */
const maxSignatures = 8;

/** What a signature is judged by. */
interface Context {
  readonly openpgp: Openpgp;
  readonly ring: KeyRing;
  readonly file: SignatureFile;
  readonly now: Date;
}

/** The reason why one signature is refused. */
class SignatureError extends Error {
  override readonly name: string = 'SignatureError';
}

/** No source that was asked so far has the key. */
class UnknownKeyError extends SignatureError {
  override readonly name = 'UnknownKeyError';
  readonly keyName: string;

  constructor(keyName: string) {
    super(`it is signed by key ${keyName}, which is not known`);
    this.keyName = keyName;
  }
}

class RevokedKeyError extends SignatureError {
  override readonly name = 'RevokedKeyError';
}

/**
 * Prepares to verify `signature` with the keys of all `sources` together. What can be decided
 * without the signed bytes is refused here, before anything is written: no signature by a trusted
 * key, a revoked key, a key that was not valid when the signature was made, a weak hash algorithm.
 * As in gpg, a key that expired after it made the signature is accepted. Unlike with gpg's exit
 * code, a revoked key is refused for every reason of revocation.
 *
 * Every source is asked. Servers that have not answered when a key is found do so while the bytes
 * are read: the verdict at the end is by what all have.
 * @throws {InstallError} with the reason for each signature and for each source without a key
 */
export async function createVerifier(
  signature: SignatureFile,
  sources: readonly KeySource[],
  clock: Clock,
  signal: AbortSignal,
): Promise<Verifier> {
  const openpgp = await loadOpenpgp();
  const ring = createKeyRing(openpgp);
  const context: Context = { openpgp, ring, file: signature, now: clock.now() };
  const parsed = await readSignature(openpgp, signature);
  // Each costs a hash of the whole image.
  const { length } = parsed.packets.filterByTag(openpgp.enums.packet.signature);
  if (length > maxSignatures) throw refused(signature, `it has ${length} signatures, more than ${maxSignatures}`);
  const failures = new Map<KeySource, InstallError>();
  const add = async (source: KeySource, read: (signal: AbortSignal) => Promise<Uint8Array>) => {
    try {
      await ring.add(source, await read(signal));
      failures.delete(source);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof InstallError)) throw error;
      failures.set(source, error);
    }
  };
  for (const source of sources.filter(({ ask }) => ask === undefined)) await add(source, source.read);
  const servers = sources.flatMap(({ ask, ...source }) => (ask === undefined ? [] : [{ ask, source }]));
  const answers = Promise.all(servers.map(({ ask, source }) => add(source, ask)));
  answers.catch(() => {}); // awaited where its failure counts
  const retries = servers.map(({ source }) => async () => {
    if (!isNotFoundAnywhere(failures.get(source)?.cause)) await add(source, source.read);
  });
  let refusals: Error[] = [];
  for (const learnMore of [async () => {}, () => answers, ...retries]) {
    await learnMore();
    const found = await findCandidates(parsed, context);
    if (found.candidates.length > 0) return watchFor(found.candidates, answers, context);
    refusals = found.refusals;
    if (!refusals.some((refusal) => refusal instanceof UnknownKeyError)) break;
  }
  const isUnknown = refusals.some((refusal) => refusal instanceof UnknownKeyError);
  throw refused(
    signature,
    describe(refusals, [...failures.values()], ring),
    hintFor(refusals),
    isUnknown ? UnknownSignerError : UntrustedError,
  );
}

async function readSignature(openpgp: Openpgp, { bytes, origin }: SignatureFile): Promise<Signature> {
  try {
    return isArmored(bytes)
      ? await openpgp.readSignature({ armoredSignature: new TextDecoder().decode(bytes) })
      : await openpgp.readSignature({ binarySignature: bytes });
  } catch (cause) {
    throw new UntrustedError({
      what: 'read the signature',
      target: origin,
      why: 'it is not an OpenPGP signature',
      hint: 'check the mirror of -b, or use another',
      cause,
    });
  }
}

/** Judges each signature by the keys that are known now. */
async function findCandidates(
  signature: Signature,
  context: Context,
): Promise<{ candidates: Candidate[]; refusals: Error[] }> {
  const candidates: Candidate[] = [];
  const refusals: Error[] = [];
  for (const packet of signature.packets.filterByTag(context.openpgp.enums.packet.signature)) {
    try {
      candidates.push(await checkWithoutBytes(packet, context));
    } catch (error) {
      if (!(error instanceof SignatureError)) throw error;
      refusals.push(error);
    }
  }
  return { candidates, refusals };
}

/** @throws {SignatureError} the reason why the signature cannot be valid for any signed bytes */
async function checkWithoutBytes(packet: SignaturePacket, { openpgp, ring, now }: Context): Promise<Candidate> {
  const { issuerKeyID: keyId, hashAlgorithm, created, version, signatureType } = packet;
  const keyName = keyId.toHex().toUpperCase();
  const key = ring.find(keyId);
  if (key === undefined) throw new UnknownKeyError(keyName);
  if (hashAlgorithm === null || openpgp.config.rejectMessageHashAlgorithms.has(hashAlgorithm)) {
    throw new SignatureError(`its hash algorithm is too weak`);
  }
  if (signatureType === openpgp.enums.signature.text) {
    throw new SignatureError('it is a signature of a text (gpg --textmode), in which line ends do not count');
  }
  if (version !== 4 || signatureType !== openpgp.enums.signature.binary || created === null) {
    throw new SignatureError('it is not a version 4 signature of a binary file');
  }
  const curve = [key, ...key.getKeys(keyId)].map(curveOf).find((name) => unsupportedCurve.test(name));
  if (curve !== undefined) throw new SignatureError(`its key ${keyName} is on the curve ${curve}, ${instead}`);
  if (created > now) {
    throw new SignatureError(
      `it was made at ${created.toISOString()}, but the clock of this machine says ${now.toISOString()} (set the clock)`,
    );
  }
  if (await isRevoked(openpgp, key, keyId)) throw new RevokedKeyError(`its key ${keyName} was revoked`);
  try {
    const signingKey = await key.getSigningKey(keyId, created);
    const signedBy = { primaryFingerprint: fingerprintOf(key), signingFingerprint: fingerprintOf(signingKey), created };
    const hashName = openpgp.enums.read(openpgp.enums.hash, hashAlgorithm).replace('_', '-');
    return { packet, signingKey, hash: createHash(hashName), signedBy };
  } catch (cause) {
    // A server may have answered meanwhile.
    if (await isRevoked(openpgp, key, keyId)) throw new RevokedKeyError(`its key ${keyName} was revoked`);
    throw new SignatureError(`its key ${keyName} was not valid when it was made: ${reasonOf(cause)}`, { cause });
  }
}

/** Those for which the OpenPGP library needs a package that it does not bring. */
const unsupportedCurve = /^(?:brainpool|secp256k1)/;
const instead = 'which is not supported: sign with RSA, Ed25519 or ECDSA on a curve of NIST';

/** @returns empty for keys without a curve */
function curveOf(key: Pick<Key, 'getAlgorithmInfo'>): string {
  return key.getAlgorithmInfo().curve ?? '';
}

function describe(refusals: readonly Error[], failures: readonly InstallError[], { origins }: KeyRing): string {
  const unknown = (keyName: string) => `it is signed by key ${keyName}, which is not in ${origins.join(' or ')}`;
  const reasons = refusals.flatMap((refusal) => {
    if (!(refusal instanceof UnknownKeyError)) return [refusal.message];
    return origins.length === 0 ? [] : [unknown(refusal.keyName)];
  });
  if (refusals.length === 0) reasons.push('there is no signature in it');
  // Other sources change nothing about what is wrong with a signature by a known key.
  if (refusals.some((refusal) => refusal instanceof UnknownKeyError))
    reasons.push(...failures.map(({ message }) => message));
  return reasons.join('; ');
}

function hintFor(refusals: readonly Error[]): string {
  return refusals.some((refusal) => refusal instanceof RevokedKeyError)
    ? 'do not install this image; use another mirror'
    : 'give the right key with -k FILE';
}

/** @param answers settled when all servers with keys have been asked */
function watchFor(candidates: readonly Candidate[], answers: Promise<unknown>, context: Context): Verifier {
  const verified = Promise.withResolvers<SignedBy>();
  // After a read error the error is reported instead, and verified() may never be awaited.
  verified.promise.catch(() => {});
  return {
    signers: candidates.map(({ signedBy }) => signedBy),
    async *watch(source) {
      try {
        for await (const chunk of source) {
          for (const { hash } of candidates) hash.update(chunk);
          yield chunk;
        }
        verified.resolve(answers.then(() => findValid(candidates, context)));
      } finally {
        verified.reject(refused(context.file, 'the signed data was not read to its end'));
      }
    },
    verified: () => verified.promise,
  };
}

/**
 * One valid signature by a trusted key is enough; the others are ignored.
 * @throws {InstallError} there is none, also because of what a server sent meanwhile
 */
async function findValid(candidates: readonly Candidate[], context: Context): Promise<SignedBy> {
  const { file } = context;
  const failures: Error[] = [];
  for (const candidate of candidates) {
    try {
      await checkDigest(context.openpgp, candidate);
      return (await checkWithoutBytes(candidate.packet, context)).signedBy;
    } catch (error) {
      failures.push(error instanceof Error ? error : new Error(reasonOf(error)));
    }
  }
  const refusals = failures.filter((failure) => failure instanceof SignatureError);
  if (refusals.length > 0) throw refused(file, refusals.map(reasonOf).join('; '), hintFor(refusals));
  const keys = candidates.map(({ signedBy }) => signedBy.signingFingerprint).join(', ');
  throw new UntrustedError({
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

function refused(file: SignatureFile, why: string, hint?: string, Kind = UntrustedError): UntrustedError {
  return new Kind({ what: 'trust the signature', target: file.origin, why, hint });
}
