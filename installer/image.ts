import type { Clock } from '../clock/clock.ts';
import { refuseOlder } from './age.ts';
import { InstallError, UnknownSignerError } from './errors.ts';
import type { DownloadClient } from './fetch/client.ts';
import { isNotFoundAnywhere } from './fetch/errors.ts';
import { fetchImage, fetchSmallFile, type Image } from './fetch/fetch.ts';
import { nameOfImageFile, openImageFile, readSignatureBeside } from './image-file.ts';
import type { Hash, InstallPlan } from './plan.ts';
import type { Report } from './progress.ts';
import { imageFileName, type ReleaseFiles, releaseFiles } from './release.ts';
import { embeddedKey, embeddedRevocations, flatcarKeySources, type KeySource, keyFileSource } from './signing-key.ts';
import { createVerifier, describeSigner, type SignatureFile, type SignedBy, type Verifier } from './verify.ts';
import { describeHash, watchHash } from './watch-hash.ts';

/** An image that is open, and verified while it is read. */
export interface CheckedImage extends Disposable {
  /** URL or path. */
  readonly origin: string;
  /** Whether there is a signature or a hash to verify it by. */
  readonly isVerified: boolean;
  /** Compressed, as transferred. Can be read once, and must be read to the end. */
  readonly bytes: AsyncIterable<Uint8Array>;
  /**
   * What the bytes that were read were verified by.
   * @throws {InstallError} the signature is not valid, or the hash is another one
   */
  verified(): Promise<Verified>;
}

/** Empty for an image that has neither a signature nor a hash. */
export interface Verified {
  readonly signedBy?: SignedBy;
  /** As it was given. */
  readonly hash?: Hash;
}

/** For people; `undefined` if there is nothing to say. */
export function describeVerified({ signedBy, hash }: Verified): string | undefined {
  if (signedBy !== undefined) return describeSigner(signedBy);
  return hash === undefined ? undefined : `Good hash ${describeHash(hash)}`;
}

/** What an image is verified by while it is read. */
interface Check {
  watch(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array>;
  verified(): Promise<Verified>;
}

const maxSignatureBytes = 64 * 1024;

/**
 * Opens the image of the plan with its signature and the key to check it, or its hash. The version
 * `current` must have been resolved. Everything that can be refused without reading the image is
 * refused here.
 * @throws {InstallError} `Image URL unavailable`, `Image signature unavailable`, or the reason why
 *   the signature is not trusted
 */
export async function openImage(
  plan: InstallPlan,
  client: DownloadClient,
  report: Report,
  signal: AbortSignal,
): Promise<CheckedImage> {
  if (plan.imageFile !== undefined) {
    const { clock } = client.options;
    const check = await checkImageFile(plan, plan.imageFile, { clock, report, signal }, client);
    return withCheck(await openImageFile(plan.imageFile, signal), check, report);
  }
  const files = imageFiles(plan);
  const image = await fetchImage(client, files.images, signal, urlHint(plan));
  try {
    return withCheck(image, await checkDownload(plan, files, client, report, signal), report);
  } catch (error) {
    image[Symbol.dispose]();
    throw error;
  }
}

/** URLs of the image and its signature. */
export function imageFiles({ imageUrl, release }: Pick<InstallPlan, 'imageUrl' | 'release'>): ReleaseFiles {
  if (imageUrl === undefined) return releaseFiles(release);
  const signature = new URL(imageUrl);
  signature.pathname += '.sig';
  return { images: [imageUrl], signatures: [signature] };
}

/** Name of the file that a download makes. */
export function downloadName({ imageUrl, release }: Pick<InstallPlan, 'imageUrl' | 'release'>): string {
  return imageUrl === undefined ? imageFileName(release) : (imageUrl.pathname.split('/').at(-1) ?? '');
}

function urlHint({ imageUrl }: InstallPlan): string | undefined {
  return imageUrl === undefined ? undefined : 'check the URL of --image-url';
}

async function checkDownload(
  plan: InstallPlan,
  files: ReleaseFiles,
  client: DownloadClient,
  report: Report,
  signal: AbortSignal,
): Promise<Check | undefined> {
  const origin = files.images.map(({ href }) => href).join(' or ');
  if (plan.imageHash !== undefined) return checkHash(plan.imageHash, origin, plan);
  const wording = {
    what: 'download',
    unavailable: 'Image signature unavailable',
    maxBytes: maxSignatureBytes,
    notFoundHint: plan.imageUrl && 'put it beside the image, or give --sha512 or --insecure',
  };
  let bytes: Uint8Array;
  try {
    bytes = await fetchSmallFile(client, files.signatures, wording, signal);
  } catch (error) {
    const isMissing = error instanceof InstallError && isNotFoundAnywhere(error.cause);
    if (!isMissing || !plan.acceptUnsigned) throw error;
    refuseUndated(origin, plan);
    report.warn(`${origin} HAS NO SIGNATURE; installing it anyway (--insecure)`);
    return undefined;
  }
  const signature = { bytes, origin: files.signatures.map(({ href }) => href).join(' or ') };
  return await checkSignature(signature, keySources(plan, client), plan, client.options.clock, signal);
}

/**
 * What a local image will be verified by; undefined for one that will not be verified.
 * @param client to ask for a key that is not known here; without it no server is asked
 * @throws {InstallError} the signature beside it is not trusted; {UnknownSignerError} by a key that
 *   is not known
 */
export async function checkImageFile(
  plan: InstallPlan,
  path: string,
  { clock, report, signal }: { readonly clock: Clock; readonly report: Report; readonly signal: AbortSignal },
  client?: DownloadClient,
): Promise<Check | undefined> {
  const name = nameOfImageFile(path);
  if (plan.imageHash !== undefined) return checkHash(plan.imageHash, name, plan);
  const bytes = await readSignatureBeside(path, maxSignatureBytes);
  if (bytes === undefined) {
    refuseUndated(name, plan);
    report.warn(`installing ${name} without verification: it has no signature beside it, and no --sha512 is given`);
    return undefined;
  }
  const signature = { bytes, origin: `${path}.sig` };
  // A machine without network is no reason to wait, as long as the key is known.
  try {
    return await checkSignature(signature, localKeySources(plan), plan, clock, signal);
  } catch (error) {
    if (client === undefined || plan.offline || !(error instanceof UnknownSignerError)) throw error;
    return await checkSignature(signature, keySources(plan, client), plan, clock, signal);
  }
}

async function checkSignature(
  signature: SignatureFile,
  sources: readonly KeySource[],
  plan: InstallPlan,
  clock: Clock,
  signal: AbortSignal,
): Promise<Check> {
  const verifier = await createVerifier(signature, sources, clock, signal);
  // Before anything is written; the signature that is valid is judged again.
  const newest = verifier.signers.toSorted((a, b) => b.created.getTime() - a.created.getTime())[0];
  if (plan.notOlderThan?.kind === 'date')
    refuseOlder(signature.origin, plan.notOlderThan, { signedBy: newest, version: undefined });
  return checkOf(verifier);
}

function checkOf(verifier: Verifier): Check {
  return {
    watch: (source) => verifier.watch(source),
    verified: async () => ({ signedBy: await verifier.verified() }),
  };
}

function checkHash(hash: Hash, origin: string, plan: InstallPlan): Check {
  refuseUndated(origin, plan);
  const watcher = watchHash(hash, origin);
  return {
    watch: (source) => watcher.watch(source),
    async verified() {
      await watcher.verified();
      return { hash };
    },
  };
}

/** Before anything is written. */
function refuseUndated(origin: string, { notOlderThan }: InstallPlan): void {
  if (notOlderThan?.kind === 'date') refuseOlder(origin, notOlderThan, { signedBy: undefined, version: undefined });
}

/** Sources of the key. What any of them revokes is revoked. */
function keySources(plan: InstallPlan, client: DownloadClient): KeySource[] {
  const { keyFile, siteKeyFile, keyFingerprint, release } = plan;
  // A site with its own keys trusts these alone. With a fingerprint the source of the key does not
  // matter.
  if (keyFile !== undefined || (siteKeyFile !== undefined && keyFingerprint === undefined))
    return localKeySources(plan);
  const siteKeys = siteKeyFile === undefined ? [] : [keyFileSource(siteKeyFile, keyFingerprint)];
  const mirrors = (release.baseUrls ?? []).map((base) => new URL(base));
  return [...siteKeys, ...flatcarKeySources(client, mirrors, keyFingerprint)];
}

/** Those of the sources that are on this machine. */
function localKeySources({ keyFile, siteKeyFile, keyFingerprint }: InstallPlan): KeySource[] {
  if (keyFile !== undefined) return [keyFileSource(keyFile, keyFingerprint), embeddedRevocations];
  const siteKeys = siteKeyFile === undefined ? [] : [keyFileSource(siteKeyFile, keyFingerprint)];
  if (siteKeys.length > 0 && keyFingerprint === undefined) return [...siteKeys, embeddedRevocations];
  return [...siteKeys, embeddedKey(keyFingerprint)];
}

function withCheck(image: Image, check: Check | undefined, report: Report): CheckedImage {
  const read = counted(image.bytes, (doneBytes) => report.transferred(doneBytes, image.sizeBytes));
  return {
    origin: image.origin,
    isVerified: check !== undefined,
    bytes: check === undefined ? read : check.watch(read),
    verified: async () => (check === undefined ? {} : await check.verified()),
    [Symbol.dispose]: () => image[Symbol.dispose](),
  };
}

async function* counted(
  source: AsyncIterable<Uint8Array>,
  tell: (doneBytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let doneBytes = 0;
  for await (const chunk of source) {
    doneBytes += chunk.length;
    tell(doneBytes);
    yield chunk;
  }
}
