import { DeadlineError } from '../../clock/deadline.ts';
import { reasonOf } from '../../errors/reason.ts';
import { HttpRequestError } from '../../net/http-error.ts';
import type { DownloadOptions } from './client.ts';
import {
  type MirrorFailure,
  NoMirrorLeftError,
  NotFoundError,
  RetriesExhaustedError,
  TransientStatusError,
  TruncatedError,
} from './errors.ts';

/**
 * Conditions of the network that another attempt may not meet: a machine that is still starting, a
 * restarting mirror, an unreliable link.
 */
const transientCodes: ReadonlySet<string> = new Set([
  'EADDRNOTAVAIL',
  'EAI_AGAIN',
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETUNREACH',
  'EPIPE',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ETIMEDOUT',
]);

const transientStatuses: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

/** Whether an HTTP status says "not now" rather than "no". */
export function isTransientStatus(status: number): boolean {
  return transientStatuses.has(status);
}

/** Whether another attempt may succeed. */
export function isTransient(error: unknown): error is Error {
  if (error instanceof DeadlineError || error instanceof TransientStatusError || error instanceof TruncatedError)
    return true;
  if (error instanceof HttpRequestError && error.reason === 'timeout') return true;
  return error instanceof Error && 'code' in error && transientCodes.has(String(error.code));
}

/**
 * Whether the failure is about the mirror that was asked, so that another mirror may have the file.
 */
function isMirrorFault(error: unknown): error is Error {
  if (isTransient(error) || error instanceof NotFoundError || error instanceof HttpRequestError) return true;
  return error instanceof Error && 'code' in error;
}

/**
 * The mirrors of one file, in order of preference, and how many failures in a row each may have.
 */
export interface RetryPolicy {
  /** The mirror to ask now. */
  readonly url: URL;
  /** Forgets earlier failures, because data has arrived. */
  reset(): void;
  /**
   * Moves on to the next mirror, and waits if that one has failed already.
   *
   * @throws {RetriesExhaustedError} no attempt is left; `failure` itself when another attempt
   *   cannot succeed; {@link NoMirrorLeftError} in place of these if there are several mirrors; the
   *   reason of the signal
   */
  afterFailure(failure: unknown, signal: AbortSignal): Promise<void>;
}

interface MirrorState {
  readonly url: URL;
  failures: number;
  /** Those of the failures that were answers of the server. */
  refusals: number;
  /** How many failures in a row it may have. */
  limit: number;
}

/**
 * A server that answers is up, and says so itself if it cannot send the file: a few seconds are
 * enough for one that is just starting. wget does not try again at all.
 */
const maxStatusTries = 4;

/** @param urls at least one */
export function createRetryPolicy(urls: readonly URL[], options: DownloadOptions): RetryPolicy {
  const mirrors: MirrorState[] = urls.map((url) => ({ url, failures: 0, refusals: 0, limit: options.tries }));
  const givenUp: MirrorFailure[] = [];
  const current = (): MirrorState => {
    const [mirror] = mirrors;
    if (mirror === undefined) throw new Error('there is no URL to download from');
    return mirror;
  };
  /**
   * Counts the failure of the current mirror, which becomes the last in the list or leaves it.
   * @returns the error because of which it leaves the list
   */
  const count = (failure: Error): Error | undefined => {
    const mirror = current();
    mirrors.shift();
    mirror.failures++;
    if (!isTransient(failure)) return failure;
    if (failure instanceof TransientStatusError) {
      mirror.refusals++;
      mirror.limit = Math.min(options.tries, mirror.failures + maxStatusTries - mirror.refusals);
    } else {
      mirror.limit = options.tries;
    }
    if (mirror.failures < mirror.limit) {
      mirrors.push(mirror);
      return undefined;
    }
    const tried = mirror.failures === 1 ? 'once' : `${mirror.failures} times`;
    return new RetriesExhaustedError(`${describeFailure(failure)} (tried ${tried})`, { cause: failure });
  };
  return {
    get url() {
      return current().url;
    },
    reset() {
      for (const mirror of mirrors) mirror.failures = mirror.refusals = 0;
    },
    async afterFailure(failure, signal) {
      signal.throwIfAborted();
      if (!isMirrorFault(failure)) throw failure;
      const { url } = current();
      const final = count(failure);
      if (final !== undefined) givenUp.push({ url, error: final });
      const [next] = mirrors;
      if (next === undefined) throw urls.length > 1 ? new NoMirrorLeftError(givenUp) : (final ?? failure);
      const pauseSeconds = next.failures === 0 ? 0 : options.pauseSeconds(next.failures);
      const where = next.url === url ? 'trying again' : `trying ${next.url.href}`;
      const when = next.failures === 0 ? '' : ` in ${pauseSeconds} s (attempt ${next.failures + 1} of ${next.limit})`;
      options.onRetry(`${url.href}: ${describeFailure(failure)}; ${where}${when}`);
      await options.clock.wait(pauseSeconds, signal);
    },
  };
}

/** The reason of a network failure, for people. */
export function describeFailure(failure: unknown): string {
  const reason = reasonOf(failure);
  // Node's message for a connection that the server closed within a body.
  return reason === 'aborted' ? 'the connection broke' : reason;
}
