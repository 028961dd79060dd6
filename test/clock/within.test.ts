import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeadlineError, startDeadline } from '../../clock/deadline.ts';
import { within } from '../../clock/within.ts';
import { VirtualClock } from '../sandbox/virtual-clock.ts';

const never = new AbortController().signal;
const limit = { seconds: 20, awaited: 'answer' };

test('within() returns what the work returns, and its deadline never comes then', async () => {
  const clock = new VirtualClock();
  let given: AbortSignal | undefined;
  const work = async (signal: AbortSignal) => {
    given = signal;
    await clock.wait(19, signal);
    return 'done';
  };
  assert.equal(await within(clock, limit, never, work), 'done');
  assert.equal(clock.pending, 0);
  await clock.wait(100);
  assert.equal(given?.aborted, false);
});

test('within() ends the wait for work that ignores its signal, and names what took how long', async () => {
  const clock = new VirtualClock();
  const failure: unknown = await within(clock, limit, never, () => new Promise(() => {})).catch((error) => error);
  assert.ok(failure instanceof DeadlineError);
  assert.deepEqual([failure.message, failure.awaited, failure.seconds], ['no answer within 20 s', 'answer', 20]);
  assert.equal(clock.elapsedSeconds, 20);
});

test('within() throws the reason of the signal, and leaves no timer behind', async () => {
  const clock = new VirtualClock();
  const controller = new AbortController();
  const reason = new Error('enough');
  clock.schedule(5, () => controller.abort(reason));
  const working = within(clock, limit, controller.signal, (signal) => clock.wait(100, signal));
  await assert.rejects(working, reason);
  assert.equal(clock.pending, 0);
  await assert.rejects(
    within(clock, limit, AbortSignal.abort(reason), async () => assert.fail('no work is begun')),
    reason,
  );
});

test('within() throws what the work throws', async () => {
  const clock = new VirtualClock();
  const failure = new Error('broken');
  await assert.rejects(
    within(clock, limit, never, () => Promise.reject(failure)),
    failure,
  );
  assert.equal(clock.pending, 0);
});

test('within() goes on aborting what the work returned when the signal is aborted later', async () => {
  const clock = new VirtualClock();
  const controller = new AbortController();
  const given = await within(clock, limit, controller.signal, async (signal) => ({ signal }));
  controller.abort(new Error('later'));
  assert.equal(given.signal.aborted, true);
});

test('within() without a limit waits for as long as it takes', async () => {
  const clock = new VirtualClock();
  await within(clock, { seconds: Number.POSITIVE_INFINITY, awaited: 'end' }, never, () => clock.wait(1e7));
  assert.equal(clock.elapsedSeconds, 1e7);
});

test('startDeadline() counts from the last progress', async () => {
  const clock = new VirtualClock();
  using deadline = startDeadline(clock, { seconds: 60, awaited: 'progress' });
  for (let step = 0; step < 10; step++) {
    await clock.wait(50);
    deadline.restart();
  }
  assert.deepEqual([deadline.isOver, deadline.signal.aborted], [false, false]);
  await clock.wait(61);
  assert.deepEqual([deadline.isOver, String(deadline.signal.reason)], [true, 'DeadlineError: no progress within 60 s']);
});
