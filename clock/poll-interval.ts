import type { Clock } from './clock.ts';

/**
 * The wait before the next poll, in seconds: up to two thirds longer than the shortest one, at
 * random, so that machines which start together do not poll together.
 */
export function pollIntervalSeconds(clock: Clock, minSeconds: number): number {
  return minSeconds * (1 + (clock.random() * 2) / 3);
}
