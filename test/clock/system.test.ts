import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock as clock } from '../../clock/system.ts';

const never = new AbortController().signal;

test('systemClock tells the time of day and measures durations', async () => {
  assert.ok(Math.abs(clock.now().getTime() - Date.now()) < 1000);
  const begin = clock.monotonicSeconds();
  await clock.wait(0.02, never);
  const seconds = clock.monotonicSeconds() - begin;
  // Node's timers are early by up to a millisecond.
  assert.ok(seconds > 0.018 && seconds < 10, `${seconds} s`);
});

test('wait() throws the reason of its signal, before and during the wait', async () => {
  const reason = new Error('too late');
  await assert.rejects(clock.wait(100, AbortSignal.abort(reason)), reason);
  const controller = new AbortController();
  const waiting = clock.wait(100, controller.signal);
  controller.abort(reason);
  await assert.rejects(waiting, reason);
});

test('schedule() calls back once; a timer that is disposed of never does', async () => {
  const calls: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const cancelled = clock.schedule(0.001, () => calls.push('cancelled'));
  cancelled[Symbol.dispose]();
  clock.schedule(0.001, () => calls.push('one'));
  clock.schedule(0.02, resolve);
  await promise;
  assert.deepEqual(calls, ['one']);
});

test('schedule() does not call back at once where the time is longer than a timer of Node can be', async () => {
  let isCalled = false;
  using _ = clock.schedule(365 * 24 * 3600, () => {
    isCalled = true;
  });
  await clock.wait(0.02, never);
  assert.equal(isCalled, false);
});

test('restart() starts the time of a timer again', async () => {
  let isCalled = false;
  using timer = clock.schedule(60, () => {
    isCalled = true;
  });
  timer.restart();
  await clock.wait(0.005, never);
  assert.equal(isCalled, false);
});

test('random() is from 0 to 1', () => {
  const numbers = Array.from({ length: 1000 }, () => clock.random());
  assert.ok(numbers.every((number) => number >= 0 && number < 1) && new Set(numbers).size > 990);
});
