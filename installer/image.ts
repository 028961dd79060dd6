import { refuseOlder } from './age.ts';
import { InstallError } from './errors.ts';
import type { DownloadClient } from './fetch/client.ts';
import { isNotFoundAnywhere } from './fetch/errors.ts';
import { fetchImage, fetchSmallFile, type Image, openImageFile } from './fetch/fetch.ts';
import type { InstallPlan } from './plan.ts';
import type { Report } from './progress.ts';
import { type ReleaseFiles, releaseFiles } from './release.ts';
import { embeddedRevocations, flatcarKeySources, type KeySource, keyFileSource } from './signing-key.ts';
import { createVerifier, type SignedBy, type Verifier } from './verify.ts';

/** An image that is open, and verified while it is read. */
export interface CheckedImage extends Disposable {
  /** URL or path. */
  readonly origin: string;
  /** Whether there is a signature to verify. */
  readonly isSigned: boolean;
  /** Compressed, as transferred. Can be read once, and must be read to the end. */
  readonly bytes: AsyncIterable<Uint8Array>;
  /**
   * The signer of what was read; undefined with `-f` or `--insecure`.
   * @throws {InstallError} the signature is not valid
   */
  verified(): Promise<SignedBy | undefined>;
}

const maxSignatureBytes = 64 * 1024;

/**
 * Opens the image of the plan with its signature and the key to check it. The version `current`
 * must have been resolved. Everything that can be refused without reading the image is refused
 * here.
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
    report.warn(`installing ${plan.imageFile} without verification, because it is given with -f`);
    return withVerification(await openImageFile(plan.imageFile, signal), undefined, report);
  }
  const files = releaseFiles(plan.release);
  const image = await fetchImage(client, files.images, signal);
  try {
    const verifier = await prepareVerifier(plan, files, client, report, signal);
    return withVerification(image, verifier, report);
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
      `${files.images.map(({ href }) => href).join(' or ')} HAS NO SIGNATURE; installing it anyway (--insecure)`,
    );
    return undefined;
  }
  const origin = files.signatures.map(({ href }) => href).join(' or ');
  const verifier = await createVerifier({ bytes, origin }, keySources(plan, client), client.options.clock, signal);
  // Before anything is written; the signature that is valid is judged again.
  const newest = verifier.signers.toSorted((a, b) => b.created.getTime() - a.created.getTime())[0];
  if (plan.notOlderThan?.kind === 'date')
    refuseOlder(origin, plan.notOlderThan, { signedBy: newest, version: undefined });
  return verifier;
}

/** Sources of the key. What any of them revokes is revoked. */
function keySources(
  { keyFile, siteKeyFile, keyFingerprint, release }: InstallPlan,
  client: DownloadClient,
): KeySource[] {
  if (keyFile !== undefined) return [keyFileSource(keyFile, keyFingerprint), embeddedRevocations];
  const siteKeys = siteKeyFile === undefined ? [] : [keyFileSource(siteKeyFile, keyFingerprint)];
  // A site with its own keys trusts these alone. With a fingerprint the source of the key does not
  // matter.
  if (siteKeys.length > 0 && keyFingerprint === undefined) return [...siteKeys, embeddedRevocations];
  const mirrors = (release.baseUrls ?? []).map((base) => new URL(base));
  return [...siteKeys, ...flatcarKeySources(client, mirrors, keyFingerprint)];
}

function withVerification(image: Image, verifier: Verifier | undefined, report: Report): CheckedImage {
  const read = counted(image.bytes, (doneBytes) => report.transferred(doneBytes, image.sizeBytes));
  return {
    origin: image.origin,
    isSigned: verifier !== undefined,
    bytes: verifier === undefined ? read : verifier.watch(read),
    verified: async () => verifier?.verified(),
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
