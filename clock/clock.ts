/** A callback that runs after some time. Disposing of it before that cancels it. */
export interface Timer extends Disposable {
  /**
   * Starts the time again, from its beginning; cheap enough to be called for each line of a
   * download.
   */
  restart(): void;
}

/**
 * Time and chance. All code that reads the time, waits or draws a random number takes one of these
 * from its caller, so that a test, or a simulation of many hours, can replace both. Only this
 * folder uses the timers, clocks and random numbers of Node (test/architecture/clock.test.ts).
 */
export interface Clock {
  /**
   * The time of day. It may be set, forwards or backwards, at any moment; durations are measured
   * with {@link monotonicSeconds}.
   */
  now(): Date;
  /** Seconds since some moment in the past, with fractions. Never goes backwards. */
  monotonicSeconds(): number;
  /**
   * Returns after `seconds`, but after 24 days at the latest.
   * @throws the reason of `signal`, as soon as it is aborted
   */
  wait(seconds: number, signal?: AbortSignal): Promise<void>;
  /** Calls `callback` once after `seconds`, but after 24 days at the latest. */
  schedule(seconds: number, callback: () => void): Timer;
  /** A random number from 0 (included) to 1 (excluded). Not for secrets. */
  random(): number;
}
