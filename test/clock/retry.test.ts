import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type RetryOptions, retry } from '../../clock/retry.ts';
import { VirtualClock } from '../sandbox/virtual-clock.ts';

const never = new AbortController().signal;

function optionsOf(overrides: Partial<RetryOptions> = {}): RetryOptions {
  const clock = new VirtualClock();
  return { clock, signal: never, initialSeconds: 1, maxSeconds: 30, onFailure: () => {}, ...overrides };
}

/** An attempt that fails so many times, and the times at which it was made. */
function failing(count: number, clock: VirtualClock) {
  const times: number[] = [];
  const attempt = async () => {
    times.push(clock.monotonicSeconds());
    if (times.length <= count) throw new Error(`failure ${times.length}`);
    return 'done';
  };
  const waits = () => times.slice(1).map((time, index) => time - (times[index] ?? 0));
  return { attempt, waits, times };
}

test('retry() returns what the first attempt that works returns, and tells of each that does not', async () => {
  const clock = new VirtualClock();
  const failures: string[] = [];
  const onFailure = (error: unknown, attempt: number) => void failures.push(`${attempt}: ${error}`);
  assert.equal(await retry(failing(3, clock).attempt, optionsOf({ clock, onFailure })), 'done');
  assert.deepEqual(failures, ['1: Error: failure 1', '2: Error: failure 2', '3: Error: failure 3']);
});

test('retry() waits longer each time, up to the maximum', async () => {
  const clock = new VirtualClock();
  clock.random = () => 0.5;
  const { attempt, waits } = failing(5, clock);
  await retry(attempt, optionsOf({ clock, initialSeconds: 20, maxSeconds: 60 }));
  assert.deepEqual(waits(), [20, 30, 45, 60, 60]);
});

test('retry() spreads its waits between half and one and a half, and never beyond the maximum', async () => {
  const clock = new VirtualClock({ seed: 7 });
  const { attempt, waits } = failing(1000, clock);
  await retry(attempt, optionsOf({ clock, initialSeconds: 10, maxSeconds: 10 }));
  const all = waits();
  assert.ok(all.every((wait) => wait > 4.99 && wait < 10.01));
  const first = await Promise.all(
    Array.from({ length: 200 }, async (_, seed) => {
      const own = new VirtualClock({ seed });
      const one = failing(1, own);
      await retry(one.attempt, optionsOf({ clock: own, initialSeconds: 10 }));
      return one.waits()[0] ?? 0;
    }),
  );
  assert.ok(Math.min(...first) >= 5 && Math.min(...first) < 6, String(Math.min(...first)));
  assert.ok(Math.max(...first) < 15 && Math.max(...first) > 14, String(Math.max(...first)));
});

test('retry() ends with what onFailure throws', async () => {
  const clock = new VirtualClock();
  const { attempt, times } = failing(10, clock);
  const onFailure = (error: unknown, count: number) => {
    if (count === 3) throw error;
  };
  await assert.rejects(retry(attempt, optionsOf({ clock, onFailure })), /failure 3/);
  assert.equal(times.length, 3);
});

test('retry() stops at once when the signal is aborted, with its reason', async () => {
  const clock = new VirtualClock();
  const controller = new AbortController();
  const reason = new Error('enough');
  clock.schedule(10, () => controller.abort(reason));
  const attempt = async () => {
    throw new Error('not yet');
  };
  const options = optionsOf({ clock, signal: controller.signal, initialSeconds: 100, maxSeconds: 100 });
  await assert.rejects(retry(attempt, options), reason);
  assert.equal(clock.elapsedSeconds, 10);
});

test('retry() does not try at all with an aborted signal', async () => {
  const reason = new Error('too late');
  const clock = new VirtualClock();
  const { attempt, times } = failing(0, clock);
  await assert.rejects(retry(attempt, optionsOf({ clock, signal: AbortSignal.abort(reason) })), reason);
  assert.equal(times.length, 0);
});
