import { IncompleteWriteError } from './disk/errors.ts';
import { FileChangedError } from './fetch/errors.ts';
import type { Report } from './progress.ts';
import { preferMirrorOf, type Release } from './release.ts';

/** A server may replace its files while they are read, but not each time. */
const maxRestarts = 3;

/**
 * Runs `attempt`, and runs it again from its beginning if the server replaced the image meanwhile.
 * @param attempt gets the release with its mirrors in the order to use
 */
export async function restartIfChanged<Result>(
  original: Release,
  report: Report,
  attempt: (release: Release) => Promise<Result>,
): Promise<Result> {
  let release = original;
  for (let restarts = 0; ; restarts++) {
    try {
      return await attempt(release);
    } catch (error) {
      const change = findChange(error);
      if (change === undefined || restarts === maxRestarts) throw error;
      // A disk that cannot be cleared cannot be written either.
      if (error instanceof IncompleteWriteError && !error.tableRemoved) throw error;
      // The mirror with the new state of the file is asked first.
      release = preferMirrorOf(change.url, release);
      report.warn(`${change.url.href}: ${change.message}; starting over`);
    }
  }
}

function findChange(error: unknown): FileChangedError | undefined {
  if (error instanceof FileChangedError) return error;
  return error instanceof Error ? findChange(error.cause) : undefined;
}
