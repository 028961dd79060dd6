import { reasonOf } from '../../errors/reason.ts';
import { HttpTimeoutError } from '../../net/http-client.ts';
import type { DownloadOptions } from './client.ts';
import {
  Interrupted,
  type MirrorFailure,
  NoMirrorLeft,
  NotAvailable,
  PassingStatus,
  TriesExhausted,
} from './errors.ts';

/** Network conditions that pass by themselves: a machine that is still coming up, a restarting mirror, a flaky link. */
const passingCodes: ReadonlySet<string> = new Set([
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

const passingStatuses: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

/** Whether an HTTP status says "not now" rather than "no". */
export function isPassingStatus(status: number): boolean {
  return passingStatuses.has(status);
}

/** Whether trying again may help. */
export function isPassing(error: unknown): error is Error {
  if (error instanceof HttpTimeoutError || error instanceof PassingStatus || error instanceof Interrupted) return true;
  return error instanceof Error && 'code' in error && passingCodes.has(String(error.code));
}

/** Whether it is about the place that was asked, so that another place may do better. */
function isOfPlace(error: unknown): error is Error {
  return isPassing(error) || error instanceof NotAvailable || (error instanceof Error && 'code' in error);
}

/** The places that have one file, in order of preference, and how many failures in a row are borne with each. */
export interface Patience {
  /** Where to ask now. */
  readonly url: URL;
  /** Forgets earlier failures: something worked. */
  renew(): void;
  /**
   * Moves on to the next place, and waits where that has failed already.
   * @throws {TriesExhausted} when no attempt is left; `failure` itself when trying again cannot help; {@link NoMirrorLeft} in place of these where
   *   there were several places; the signal's reason when it is aborted
   */
  afterFailure(failure: unknown, signal: AbortSignal): Promise<void>;
}

interface Place {
  readonly url: URL;
  failures: number;
}

/** @param urls at least one */
export function createPatience(urls: readonly URL[], options: DownloadOptions): Patience {
  const places: Place[] = urls.map((url) => ({ url, failures: 0 }));
  const givenUp: MirrorFailure[] = [];
  const current = (): Place => {
    const [place] = places;
    if (place === undefined) throw new Error('there is no place to download from');
    return place;
  };
  /** Counts the failure against its place, which goes to the end of the line, or out of it. @returns the error that puts it out */
  const count = (failure: Error): Error | undefined => {
    const place = current();
    places.shift();
    place.failures++;
    if (!isPassing(failure)) return failure;
    if (place.failures < options.tries) {
      places.push(place);
      return undefined;
    }
    const tried = place.failures === 1 ? 'once' : `${place.failures} times`;
    return new TriesExhausted(`${describeFailure(failure)} (tried ${tried})`, { cause: failure });
  };
  return {
    get url() {
      return current().url;
    },
    renew() {
      for (const place of places) place.failures = 0;
    },
    async afterFailure(failure, signal) {
      signal.throwIfAborted();
      if (!isOfPlace(failure)) throw failure;
      const { url } = current();
      const final = count(failure);
      if (final !== undefined) givenUp.push({ url, error: final });
      const [next] = places;
      if (next === undefined) throw urls.length > 1 ? new NoMirrorLeft(givenUp) : (final ?? failure);
      const pauseSeconds = next.failures === 0 ? 0 : options.pauseSeconds(next.failures);
      const where = next.url === url ? 'trying again' : `trying ${next.url.href}`;
      const when =
        next.failures === 0 ? '' : ` in ${pauseSeconds} s (attempt ${next.failures + 1} of ${options.tries})`;
      options.onRetry(`${url.href}: ${describeFailure(failure)}; ${where}${when}`);
      await options.clock.wait(pauseSeconds, signal);
    },
  };
}

/** A network failure in words. */
export function describeFailure(failure: unknown): string {
  const reason = reasonOf(failure);
  // Node's word for a connection that the other side closed within a body.
  return reason === 'aborted' ? 'the connection broke' : reason;
}
