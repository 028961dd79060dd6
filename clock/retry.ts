import type { Clock } from './clock.ts';

export interface RetryOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Wait after the first failure, before it is spread. */
  readonly initialSeconds: number;
  /** No wait is longer than this. */
  readonly maxSeconds: number;
  /** Factor between two waits. Default: 1.5. */
  readonly growth?: number | undefined;
  /** Called after each failed attempt, counted from 1. If it throws, there are no more attempts. */
  onFailure(error: unknown, attempt: number): void | Promise<void>;
}

/**
 * Tries until an attempt succeeds, {@link RetryOptions.onFailure} throws, or the signal is aborted;
 * then the signal's reason is thrown.
 *
 * Waits grow each time and are spread by ±50 %, so that machines which lost their server in the
 * same second do not come back in the same second.
 */
export async function retry<T>(attempt: (signal: AbortSignal) => Promise<T>, options: RetryOptions): Promise<T> {
  const { clock, signal, initialSeconds, maxSeconds, growth = 1.5 } = options;
  let seconds = Math.min(initialSeconds, maxSeconds);
  for (let attempts = 1; ; attempts++) {
    signal.throwIfAborted();
    try {
      return await attempt(signal);
    } catch (error) {
      signal.throwIfAborted();
      await options.onFailure(error, attempts);
    }
    await clock.wait(Math.min(seconds * (0.5 + clock.random()), maxSeconds), signal);
    seconds = Math.min(seconds * growth, maxSeconds);
  }
}
