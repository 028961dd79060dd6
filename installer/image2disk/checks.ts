import { InstallError } from '../errors.ts';
import type { DownloadClient } from '../fetch/client.ts';
import { fetchSmallFile } from '../fetch/fetch.ts';
import type { Hash } from '../plan.ts';
import type { Report } from '../progress.ts';
import { embeddedRevocations, type KeySource, keyFileSource } from '../signing-key.ts';
import { createVerifier, describeSigner } from '../verify.ts';
import { describeHash, watchHash } from '../watch-hash.ts';
import type { Settings, SignatureSettings } from './settings.ts';

/** Checks an image while it is read. */
export interface Check {
  /** Passes the bytes through. Can be called once. */
  watch(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>;
  /**
   * Called when the bytes have been read to their end.
   * @returns the result, for people
   * @throws {UntrustedError} this is another image
   */
  verified(): Promise<string>;
}

interface CheckContext {
  readonly client: DownloadClient;
  readonly report: Report;
  readonly signal: AbortSignal;
  /** Keys of the site, for a signature without a key. */
  readonly siteKeyFile: string | undefined;
}

const maxSumsBytes = 4 * 1024 * 1024;
const maxSignatureBytes = 64 * 1024;

/**
 * Fetches what the image is checked by.
 * @param name file name of the image, for the file of hashes
 * @throws {InstallError} it cannot be had, or does not name the image
 */
export async function prepareChecks(
  { hashes, checksumUrl, signature }: Settings,
  name: string,
  context: CheckContext,
): Promise<Check[]> {
  const { client, report, signal } = context;
  const checks = hashes.map((hash) => checkHash(hash, name));
  if (checksumUrl !== undefined) {
    if (checksumUrl.protocol === 'http:')
      report.warn(`${checksumUrl.href} comes over plain HTTP: who can change the image can change its hash, too`);
    const file = { what: 'download the hashes', maxBytes: maxSumsBytes };
    const text = new TextDecoder().decode(await fetchSmallFile(client, [checksumUrl], file, signal));
    checks.push(checkHash(findHash(text, name, checksumUrl), name));
  }
  if (signature !== undefined) checks.push(await checkSignature(signature, context));
  return checks;
}

function checkHash(hash: Hash, origin: string): Check {
  const watcher = watchHash(hash, origin);
  return {
    watch: (source) => watcher.watch(source),
    async verified() {
      await watcher.verified();
      return `Good hash ${describeHash(hash)}`;
    },
  };
}

async function checkSignature(
  { url, key }: SignatureSettings,
  { client, siteKeyFile, signal }: CheckContext,
): Promise<Check> {
  const source = keySource(key ?? siteKeyFile);
  const file = { what: 'download the signature', maxBytes: maxSignatureBytes };
  const bytes = await fetchSmallFile(client, [url], file, signal);
  const sources = [source, embeddedRevocations];
  const verifier = await createVerifier({ bytes, origin: url.href }, sources, client.options.clock, signal);
  return { watch: (read) => verifier.watch(read), verified: async () => describeSigner(await verifier.verified()) };
}

/** @param key a path, or armoured text */
function keySource(key: string | undefined): KeySource {
  if (key === undefined) {
    throw new InstallError({
      what: 'verify',
      target: 'the image',
      why: 'IMG_SIG_URL is given without a key',
      hint: 'give the public key in IMG_SIG_KEY: its text, or the path of a file with it',
    });
  }
  if (!key.includes('-----BEGIN PGP PUBLIC KEY BLOCK-----')) return keyFileSource(key);
  return { origin: 'IMG_SIG_KEY', read: async () => new TextEncoder().encode(key) };
}

/**
 * The hash of an image in the output of sha256sum or sha512sum, also with --tag. A file with
 * nothing but one hash is for any image.
 * @throws {InstallError} it has none for this name
 */
export function findHash(text: string, name: string, { href }: URL): Hash {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  const [line = ''] = lines;
  const lone = lines.length === 1 ? hashOf(line.trim()) : undefined;
  if (lone !== undefined) return lone;
  const found = lines.flatMap((one) => {
    const [, plain = '', plainName] = /^\\?([0-9a-f]+) [ *](.+)$/i.exec(one) ?? [];
    const [, taggedName, tagged = ''] = /^SHA(?:256|512) \((.+)\) = ([0-9a-f]+)$/i.exec(one) ?? [];
    const isNamed = [plainName, taggedName].some((path) => path?.split('/').at(-1) === name);
    const hash = isNamed ? hashOf(plain || tagged) : undefined;
    return hash === undefined ? [] : [hash];
  });
  const [hash, ...others] = found;
  if (hash !== undefined && others.every(({ digest }) => digest === hash.digest)) return hash;
  throw new InstallError({
    what: 'verify',
    target: 'the image',
    why: `${href} ${hash === undefined ? `has no SHA-256 or SHA-512 hash of ${name}` : `has several hashes of ${name}`}`,
    hint: 'give the hash itself in IMG_SHA256 or IMG_SHA512',
  });
}

function hashOf(digits: string): Hash | undefined {
  if (!/^[0-9a-f]+$/i.test(digits)) return undefined;
  const digest = digits.toLowerCase();
  if (digest.length === 64) return { algorithm: 'sha256', digest };
  return digest.length === 128 ? { algorithm: 'sha512', digest } : undefined;
}
