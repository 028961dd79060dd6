import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { patienceSeconds } from './patience.ts';

/**
 * Waits for a condition that has no event, by checking it every 20 ms.
 *
 * @param what the condition in words, as an object of "waited for"
 * @throws {AssertionError} it did not become true in time
 */
export async function pollUntil(
  condition: () => boolean | Promise<boolean>,
  what: string,
  timeoutSeconds = patienceSeconds,
): Promise<void> {
  for (const deadline = performance.now() + timeoutSeconds * 1000; !(await condition()); await setTimeout(20))
    assert.ok(performance.now() < deadline, `waited ${timeoutSeconds} s for ${what}`);
}
