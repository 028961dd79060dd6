import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from './clock.ts';

/** A timer of Node that is set any further goes off at once. */
const maxMilliseconds = 2 ** 31 - 1;

/** The clocks, timers and random numbers of the machine. */
export const systemClock: Clock = {
  now: () => new Date(),
  monotonicSeconds: () => performance.now() / 1000,
  async wait(seconds, signal) {
    try {
      await sleep(toMilliseconds(seconds), undefined, signal && { signal });
    } catch {
      // The AbortError of the timer hides why the wait was stopped.
      signal?.throwIfAborted();
    }
  },
  schedule(seconds, callback) {
    const timer = setTimeout(callback, toMilliseconds(seconds));
    return { restart: () => timer.refresh(), [Symbol.dispose]: () => clearTimeout(timer) };
  },
  random: Math.random,
};

function toMilliseconds(seconds: number): number {
  return Math.min(seconds * 1000, maxMilliseconds);
}
