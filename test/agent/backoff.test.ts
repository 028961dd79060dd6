import assert from 'node:assert/strict';
import { test } from 'node:test';
import { retry, wait } from '../../agent/backoff.ts';

const never = new AbortController().signal;

test('retry() returns what the first attempt that works returns, and tells of each that does not', async () => {
  const failures: unknown[] = [];
  let attempts = 0;
  const result = await retry(
    async () => {
      attempts += 1;
      if (attempts < 4) throw new Error(`failure ${attempts}`);
      return 'done';
    },
    { signal: never, initialSeconds: 0.001, maximumSeconds: 0.002, onFailure: (error) => failures.push(String(error)) },
  );
  assert.equal(result, 'done');
  assert.deepEqual(failures, ['Error: failure 1', 'Error: failure 2', 'Error: failure 3']);
});

test('retry() waits longer each time, up to the maximum', async () => {
  const times: number[] = [];
  await retry(
    async () => {
      times.push(performance.now());
      if (times.length < 6) throw new Error('not yet');
    },
    { signal: never, initialSeconds: 0.02, maximumSeconds: 0.06, onFailure: () => {}, random: () => 0.5 },
  );
  const waits = times.slice(1).map((time, index) => time - (times[index] ?? 0));
  // 20, 30, 45, 60, 60 ms; timers are late, never early by more than a millisecond.
  for (const [index, expected] of [20, 30, 45, 60, 60].entries())
    assert.ok((waits[index] ?? 0) >= expected - 1, `wait ${index}: ${waits[index]}`);
});

test('retry() spreads its waits between half and one and a half', async () => {
  for (const [random, least, most] of [
    [0, 99, 190],
    [0.999, 298, 1000],
  ] as const) {
    let attempts = 0;
    const begin = performance.now();
    await retry(
      async () => {
        attempts += 1;
        if (attempts === 1) throw new Error('not yet');
      },
      { signal: never, initialSeconds: 0.2, maximumSeconds: 10, onFailure: () => {}, random: () => random },
    );
    const waited = performance.now() - begin;
    assert.ok(waited >= least && waited <= most, `${waited} ms`);
  }
});

test('retry() stops at once when the signal is aborted, with its reason', async () => {
  const controller = new AbortController();
  const reason = new Error('enough');
  const begin = performance.now();
  const result = retry(
    async () => {
      setTimeout(() => controller.abort(reason), 10);
      throw new Error('not yet');
    },
    { signal: controller.signal, initialSeconds: 100, maximumSeconds: 100, onFailure: () => {} },
  );
  await assert.rejects(result, reason);
  assert.ok(performance.now() - begin < 5000);
});

test('retry() does not try at all with an aborted signal', async () => {
  const reason = new Error('too late');
  let attempts = 0;
  const attempt = async () => {
    attempts += 1;
  };
  await assert.rejects(
    retry(attempt, { signal: AbortSignal.abort(reason), initialSeconds: 1, maximumSeconds: 1, onFailure: () => {} }),
    reason,
  );
  assert.equal(attempts, 0);
});

test('wait() throws the reason of an aborted signal', async () => {
  const reason = new Error('too late');
  await assert.rejects(wait(100, AbortSignal.abort(reason)), reason);
});
