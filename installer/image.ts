import { InstallError } from './errors.ts';
import type { DownloadClient } from './fetch/client.ts';
import { isNotFoundAnywhere } from './fetch/errors.ts';
import { fetchImage, fetchSmallFile, type Image, openImageFile } from './fetch/fetch.ts';
import type { InstallPlan } from './plan.ts';
import type { Report } from './progress.ts';
import { type ReleaseFiles, releaseFiles } from './release.ts';
import { flatcarKeySources, type KeySource, keyFileSource } from './signing-key.ts';
import { createVerifier, type SignedBy, type Verifier } from './verify.ts';

/** An image that exists and is checked while it is read. */
export interface CheckedImage extends Disposable {
  /** URL or path. */
  readonly origin: string;
  /** As they are transferred (compressed). To be read once, to the end. */
  readonly bytes: AsyncIterable<Uint8Array>;
  /**
   * Who signed what was read; undefined where the person chose to do without a signature.
   * @throws {InstallError} when the signature is not good
   */
  verdict(): Promise<SignedBy | undefined>;
}

const maxSignatureBytes = 64 * 1024;

/**
 * Opens the image of the plan, whose `current` version must have been resolved, with its signature and the key to check it. Everything that can
 * be refused without reading the image is refused here.
 * @throws {InstallError} `Image URL unavailable`, `Image signature unavailable`, or why the signature is not trusted
 */
export async function openImage(
  plan: InstallPlan,
  client: DownloadClient,
  report: Report,
  signal: AbortSignal,
): Promise<CheckedImage> {
  if (plan.imageFile !== undefined) {
    report.warn(`${plan.imageFile} is installed without verification, as every image given with -f`);
    return checked(await openImageFile(plan.imageFile, signal), undefined, report);
  }
  const files = releaseFiles(plan.release);
  const image = await fetchImage(client, files.images, signal);
  try {
    const verifier = await prepareVerifier(plan, files, client, report, signal);
    return checked(image, verifier, report);
  } catch (error) {
    image[Symbol.dispose]();
    throw error;
  }
}

async function prepareVerifier(
  plan: InstallPlan,
  files: ReleaseFiles,
  client: DownloadClient,
  report: Report,
  signal: AbortSignal,
): Promise<Verifier | undefined> {
  const wording = { what: 'download', unavailable: 'Image signature unavailable', maxBytes: maxSignatureBytes };
  let bytes: Uint8Array;
  try {
    bytes = await fetchSmallFile(client, files.signatures, wording, signal);
  } catch (error) {
    const isMissing = error instanceof InstallError && isNotFoundAnywhere(error.cause);
    if (!isMissing || !plan.acceptUnsigned) throw error;
    report.warn(
      `${files.images.map(({ href }) => href).join(' or ')} HAS NO SIGNATURE and is installed all the same, because of --insecure`,
    );
    return undefined;
  }
  const origin = files.signatures.map(({ href }) => href).join(' or ');
  return await createVerifier({ bytes, origin }, keySources(plan, client), client.options.clock, signal);
}

/** Where to look for the key, nearest first. */
function keySources(
  { keyFile, siteKeyFile, keyFingerprint, release }: InstallPlan,
  client: DownloadClient,
): KeySource[] {
  if (keyFile !== undefined) return [keyFileSource(keyFile, keyFingerprint)];
  const siteKeys = siteKeyFile === undefined ? [] : [keyFileSource(siteKeyFile, keyFingerprint)];
  // A site that has keys of its own trusts these alone; with a fingerprint it does not matter where the key comes from.
  if (siteKeys.length > 0 && keyFingerprint === undefined) return siteKeys;
  const mirrors = (release.baseUrls ?? []).map((base) => new URL(base));
  return [...siteKeys, ...flatcarKeySources(client, mirrors, keyFingerprint)];
}

function checked(image: Image, verifier: Verifier | undefined, report: Report): CheckedImage {
  const read = counted(image.bytes, (doneBytes) => report.transferred(doneBytes, image.sizeBytes));
  return {
    origin: image.origin,
    bytes: verifier === undefined ? read : verifier.watch(read),
    verdict: async () => verifier?.verdict(),
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
