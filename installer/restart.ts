import { reasonOf } from '../errors/reason.ts';
import { HttpRequestError } from '../net/http-error.ts';
import { DecompressError } from './decompress/error.ts';
import { IncompleteWriteError } from './disk/errors.ts';
import { InstallError, UntrustedError } from './errors.ts';
import { FileChangedError, NotFoundError, RetriesExhaustedError } from './fetch/errors.ts';
import { type InstallPlan, isRelease } from './plan.ts';
import type { Report } from './progress.ts';
import { preferMirrorOf, type Release, releaseFiles } from './release.ts';

/** A server may replace its files while they are read, but not each time. */
const maxRestarts = 3;

/**
 * One attempt to get an image.
 * @param onOrigin is called with the URL of the image that is read
 */
type Attempt<Source, Result> = (source: Source, onOrigin: (url: string) => void) => Promise<Result>;

/** How an image can be had from several mirrors. */
interface Mirrors<Source> {
  /** The image on each mirror, in the order to use. */
  readonly images: (source: Source) => readonly URL[];
  /** The same source with each of its mirrors alone. */
  readonly apart: (source: Source) => readonly Source[];
  /** The same source, with the mirror that this URL is on as the first one to use. */
  readonly prefer: (url: URL, source: Source) => Source;
}

const mirrorsOfRelease: Mirrors<Release> = {
  images: (release) => releaseFiles(release).images,
  apart: (release) => (release.baseUrls ?? []).map((base) => ({ ...release, baseUrls: [base] })),
  prefer: preferMirrorOf,
};

const mirrorsOfImage: Mirrors<readonly URL[]> = {
  images: (urls) => urls,
  apart: (urls) => urls.map((url) => [url]),
  prefer: (changed, urls) => urls.toSorted((a, b) => Number(b === changed) - Number(a === changed)),
};

/**
 * Runs `attempt` with all mirrors of a release, and if what came is not a good image, with each of
 * the others alone: a captive portal, a broken cache or an old copy is no reason to fail while
 * another mirror is right.
 * @throws {InstallError} the failure of the only mirror, or one with those of all
 */
export async function withGoodMirror<Result>(
  plan: InstallPlan,
  report: Report,
  attempt: Attempt<Release, Result>,
): Promise<Result> {
  // An image that is no release has no mirrors; what a pipe had cannot be read again.
  const mirrors = isRelease(plan) ? mirrorsOfRelease : { ...mirrorsOfRelease, apart: () => [] };
  return await withGoodSource(plan.release, mirrors, report, attempt);
}

/** As `withGoodMirror`, for one image under several URLs. */
export async function withGoodUrl<Result>(
  urls: readonly URL[],
  report: Report,
  attempt: Attempt<readonly URL[], Result>,
): Promise<Result> {
  return await withGoodSource(urls, mirrorsOfImage, report, attempt);
}

async function withGoodSource<Source, Result>(
  source: Source,
  mirrors: Mirrors<Source>,
  report: Report,
  attempt: Attempt<Source, Result>,
): Promise<Result> {
  const apart = mirrors.apart(source);
  const failures: { url: string; error: Error }[] = [];
  let origin = '';
  const run = (wanted: Source) => {
    origin = '';
    return restartIfChanged(wanted, mirrors, report, (one) => attempt(one, (url) => (origin = url)));
  };
  try {
    return await run(source);
  } catch (error) {
    if (apart.length < 2 || !isContentFault(error)) throw error;
    // Without an origin the signature was refused before the image was read.
    failures.push({ url: origin || mirrors.images(source)[0]?.href || '', error });
  }
  for (const alone of apart) {
    const [image] = mirrors.images(alone);
    if (image === undefined || failures.some(({ url }) => url === image.href)) continue;
    const last = failures.at(-1);
    report.warn(`${last?.url}: ${reasonOf(last?.error)}; trying ${image.href}`);
    try {
      return await run(alone);
    } catch (error) {
      if (!(error instanceof InstallError) || (error instanceof IncompleteWriteError && !error.tableRemoved))
        throw error;
      if (!isContentFault(error) && !isMirrorFailure(error)) throw error;
      failures.push({ url: image.href, error });
    }
  }
  const [{ error } = {}] = failures;
  if (failures.length === 1 && error !== undefined) throw error;
  throw new InstallError({
    what: 'get a good image',
    target: 'from any mirror',
    why: failures.map((one) => `${one.url}: ${reasonOf(one.error)}`).join('; '),
    cause: failures.at(-1)?.error,
  });
}

/** Whether a server sent something else than a good image or signature. */
function isContentFault(error: unknown): error is Error {
  if (error instanceof IncompleteWriteError && !error.tableRemoved) return false;
  if (error instanceof DecompressError || error instanceof UntrustedError) return true;
  return error instanceof Error && isContentFault(error.cause);
}

/** Whether a single mirror does not have the file, or cannot be reached. */
function isMirrorFailure(error: unknown): boolean {
  if (error instanceof NotFoundError || error instanceof RetriesExhaustedError) return true;
  if (error instanceof HttpRequestError) return true;
  return error instanceof Error && isMirrorFailure(error.cause);
}

/**
 * Runs `attempt`, and runs it again from its beginning if the server replaced the image meanwhile.
 * @param attempt gets the source with its mirrors in the order to use
 */
async function restartIfChanged<Source, Result>(
  original: Source,
  mirrors: Mirrors<Source>,
  report: Report,
  attempt: (source: Source) => Promise<Result>,
): Promise<Result> {
  let source = original;
  for (let restarts = 0; ; restarts++) {
    try {
      return await attempt(source);
    } catch (error) {
      const change = findChange(error);
      if (change === undefined || restarts === maxRestarts) throw error;
      // A disk that cannot be cleared cannot be written either.
      if (error instanceof IncompleteWriteError && !error.tableRemoved) throw error;
      // The mirror with the new state of the file is asked first.
      source = mirrors.prefer(change.url, source);
      report.warn(`${change.url.href}: ${change.message}; starting over`);
    }
  }
}

function findChange(error: unknown): FileChangedError | undefined {
  if (error instanceof FileChangedError) return error;
  return error instanceof Error ? findChange(error.cause) : undefined;
}
