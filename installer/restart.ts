import { IncompleteWriteError } from './disk/errors.ts';
import { FileChangedError } from './fetch/errors.ts';
import type { Report } from './progress.ts';
import { preferMirrorOf, type Release } from './release.ts';

/** A server may replace its files while they are being read, but not every time. */
const maxRestarts = 3;

/**
 * Runs `attempt`, and runs it again from its beginning where the server replaced the image meanwhile.
 * @param attempt is told which release, with the mirror first that is to be asked first
 */
export async function withRestarts<Result>(
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
      // A disk that cannot even be cleared is not worth another try.
      if (error instanceof IncompleteWriteError && !error.tableRemoved) throw error;
      // Where the rest is different, the beginning is to be had too.
      release = preferMirrorOf(change.url, release);
      report.warn(`${change.url.href}: ${change.message}; starting over`);
    }
  }
}

function findChange(error: unknown): FileChangedError | undefined {
  if (error instanceof FileChangedError) return error;
  return error instanceof Error ? findChange(error.cause) : undefined;
}
