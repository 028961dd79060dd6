import { setTimeout as sleep } from 'node:timers/promises';

/** Waits, or throws the reason of `signal` as soon as it is aborted. */
export async function wait(seconds: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(seconds * 1000, undefined, { signal });
  } catch {
    // The timer's own AbortError hides why it was stopped.
    signal.throwIfAborted();
  }
}

export interface RetryOptions {
  readonly signal: AbortSignal;
  /** Shortest wait after the first failure. */
  readonly initialSeconds: number;
  /** No wait is longer than this. */
  readonly maximumSeconds: number;
  /** Called after every failed attempt. */
  onFailure(error: unknown): void;
  /** A number from 0 (included) to 1 (excluded); for tests. */
  readonly random?: () => number;
}

/**
 * Tries until it succeeds or the signal is aborted; then the signal's reason is thrown.
 *
 * Waits grow by half each time and are spread by ±50 %, so that machines which lost their server in the same second do not come back in the same second.
 */
export async function retry<T>(attempt: (signal: AbortSignal) => Promise<T>, options: RetryOptions): Promise<T> {
  const { signal, initialSeconds, maximumSeconds, onFailure, random = Math.random } = options;
  for (let seconds = initialSeconds; ; seconds = Math.min(seconds * 1.5, maximumSeconds)) {
    signal.throwIfAborted();
    try {
      return await attempt(signal);
    } catch (error) {
      signal.throwIfAborted();
      onFailure(error);
    }
    await wait(Math.min(seconds * (0.5 + random()), maximumSeconds), signal);
  }
}
