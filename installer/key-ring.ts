import type { Key, SignaturePacket, Subkey } from 'openpgp';
import { reasonOf } from '../errors/reason.ts';
import { InstallError } from './errors.ts';
import type { KeySource } from './signing-key.ts';

/** The library is large, and help and wrong options do not need it. */
export const loadOpenpgp = () => import('openpgp');
export type Openpgp = Awaited<ReturnType<typeof loadOpenpgp>>;

/**
 * The keys of several sources, merged: a key that is in several of them has the bindings and the
 * revocations of all. A source can therefore add a revocation or an earlier expiry, but not hide
 * what another one has.
 */
export interface KeyRing {
  /**
   * Adds what a source has.
   * @throws {InstallError} it has no OpenPGP public key, or none with the pinned fingerprint
   */
  add(source: KeySource, bytes: Uint8Array): Promise<void>;
  /** The key that has this key id, itself or by a subkey. */
  find(keyId: SignaturePacket['issuerKeyID']): Key | undefined;
  /** Sources of trusted keys, for messages. */
  readonly origins: readonly string[];
}

export function createKeyRing(openpgp: Openpgp): KeyRing {
  const trusted = new Map<string, Key>();
  const origins: string[] = [];
  /** What sources of revocations had, for keys that are added after them. */
  const distrusted: Key[] = [];
  return {
    origins,
    async add(source, bytes) {
      const found = await readKeys(openpgp, source, bytes);
      if (source.revocationsOnly === true) distrusted.push(...found);
      else origins.push(source.origin);
      for (const key of source.revocationsOnly === true ? [] : found) {
        const known = trusted.get(fingerprintOf(key));
        if (known === undefined) trusted.set(fingerprintOf(key), key);
        else merge(known, key);
      }
      for (const key of distrusted) {
        const known = trusted.get(fingerprintOf(key));
        if (known !== undefined) mergeRevocations(known, key);
      }
    },
    find: (keyId) => [...trusted.values()].find((key) => key.getKeys(keyId).length > 0),
  };
}

export function fingerprintOf(key: { getFingerprint(): string }): string {
  return key.getFingerprint().toUpperCase();
}

/** As gpg decides it: the first byte of a packet has its highest bit set (RFC 4880, 4.2). */
export function isArmored(bytes: Uint8Array): boolean {
  return (bytes[0] ?? 0) < 0x80;
}

async function readKeys(openpgp: Openpgp, source: KeySource, bytes: Uint8Array): Promise<Key[]> {
  const unusable = (why: string, cause?: unknown) =>
    new InstallError({ what: 'use the signing key of', target: source.origin, why, cause });
  let keys: Key[];
  try {
    keys = await parseKeys(openpgp, bytes);
  } catch (cause) {
    throw unusable(`it is not an OpenPGP public key: ${reasonOf(cause)}`, cause);
  }
  const pin = source.pinnedFingerprint;
  const trusted = pin === undefined ? keys : keys.filter((key) => fingerprintOf(key) === pin);
  if (trusted.length === 0) throw unusable(`it has no key with the fingerprint ${pin ?? '(any)'}`);
  return trusted;
}

/**
 * All keys of a file: binary, or in any number of armoured blocks with text between them, as gpg
 * imports them. A block with a revocation certificate alone revokes its key, wherever in the file
 * that is. One damaged block makes the file unusable: it may be the one with a revocation.
 */
async function parseKeys(openpgp: Openpgp, bytes: Uint8Array): Promise<Key[]> {
  if (!isArmored(bytes)) return await openpgp.readKeys({ binaryKeys: bytes });
  const text = new TextDecoder().decode(bytes);
  const blocks = text.split(/(?=-----BEGIN PGP )/).filter((block) => block.startsWith('-----BEGIN PGP '));
  if (blocks.length === 0) throw new Error('it has no armoured block');
  const keys: Key[] = [];
  const certificates: SignaturePacket[] = [];
  for (const block of blocks) {
    const revocations = await parseRevocations(openpgp, block);
    if (revocations.length > 0) certificates.push(...revocations);
    else keys.push(...(await openpgp.readKeys({ armoredKeys: block })));
  }
  for (const certificate of certificates) {
    // Whether the key made it is checked when the key is used.
    for (const key of keys)
      if (key.getKeyID().equals(certificate.issuerKeyID)) key.revocationSignatures.push(certificate);
  }
  return keys;
}

/** @returns the revocation certificates of a block that has nothing else; none for other blocks */
async function parseRevocations(openpgp: Openpgp, block: string): Promise<SignaturePacket[]> {
  const { data } = await openpgp.unarmor(block);
  const packets = await openpgp
    .readSignature({ binarySignature: await bytesOf(data) })
    .then((signature) => [...signature.packets])
    .catch(() => []);
  return packets.filter(({ signatureType }) => signatureType === openpgp.enums.signature.keyRevocation);
}

async function bytesOf(data: unknown): Promise<Uint8Array> {
  if (data instanceof Uint8Array) return data;
  throw new TypeError('the armour has no bytes in it');
}

/** Adds to `known` what `other`, the same primary key from another source, has. */
function merge(known: Key, other: Key): void {
  mergeRevocations(known, other);
  for (const user of other.users) {
    const same = known.users.find(({ userID }) => userID?.userID === user.userID?.userID);
    if (same === undefined) known.users.push(user);
    else {
      same.selfCertifications.push(...user.selfCertifications);
      same.revocationSignatures.push(...user.revocationSignatures);
    }
  }
  for (const subkey of other.subkeys) {
    const same = findSubkey(known, subkey);
    if (same === undefined) known.subkeys.push(subkey);
    // The newest that the primary key really made counts. The library looks for it.
    else same.bindingSignatures.push(...subkey.bindingSignatures);
  }
}

function mergeRevocations(known: Key, other: Key): void {
  known.revocationSignatures.push(...other.revocationSignatures);
  for (const subkey of other.subkeys) {
    findSubkey(known, subkey)?.revocationSignatures.push(...subkey.revocationSignatures);
  }
}

function findSubkey(key: Key, subkey: Subkey): Subkey | undefined {
  return key.subkeys.find((known) => fingerprintOf(known) === fingerprintOf(subkey));
}

/**
 * Whether the primary key or the subkey with this id was revoked by the primary key. The library
 * accepts signatures from before a key was retired. Here every revocation is final.
 */
export async function isRevoked(openpgp: Openpgp, key: Key, keyId: SignaturePacket['issuerKeyID']): Promise<boolean> {
  const endOfTime = new Date(Date.UTC(9999, 0));
  if (await key.isRevoked(undefined, undefined, endOfTime)) return true;
  const revocations = key.getSubkeys(keyId).flatMap((subkey) =>
    subkey.revocationSignatures.map((revocation) => {
      const revoked = { key: key.keyPacket, bind: subkey.keyPacket };
      return revocation.verify(key.keyPacket, openpgp.enums.signature.subkeyRevocation, revoked, endOfTime);
    }),
  );
  // Only a revocation that the primary key really made counts.
  return (await Promise.allSettled(revocations)).some(({ status }) => status === 'fulfilled');
}
