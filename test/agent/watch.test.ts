import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import type { Action } from '../../agent/action/action.ts';
import { createLog } from '../../agent/log/log.ts';
import { createRedactor } from '../../agent/log/redact.ts';
import { type CancelState, TransportError } from '../../agent/transport/transport.ts';
import { watchCancellation } from '../../agent/watch.ts';
import { VirtualClock } from '../sandbox/virtual-clock.ts';

const action: Action = {
  ...{ workflowId: 'w', taskName: 't', name: 'install', id: '0/t/install', workerId: 'm', image: 'i' },
  ...{ command: [], environment: [], volumes: [], onTimeout: [], onFailure: [] },
  ...{ timeoutSeconds: undefined, pidMode: undefined, networkMode: undefined },
  ...{ registryPrefix: 'always' as const, sharesDirectory: true },
};
const wanted: CancelState = { kind: 'active' };
const gone: CancelState = { kind: 'cancelled', reason: 'it was deleted' };
const goneForGood: CancelState = { ...gone, isFinal: true };
const pollSeconds = 3;
/** Of the 15 seconds in which an action is to be stopped, the container may take five. */
const limitSeconds = 10;

let seed = 1;

/** Watches with these answers, the last of them repeated. */
async function watch(answers: readonly (CancelState | Error)[], untilLooks = Number.POSITIVE_INFINITY) {
  const end = new AbortController();
  const clock = new VirtualClock({ seed: seed++ });
  const pauses: number[] = [];
  const { wait } = clock;
  clock.wait = (seconds, signal) => {
    pauses.push(seconds);
    return wait.call(clock, seconds, signal);
  };
  let looks = 0;
  await using watched = watchCancellation(action, {
    transport: {
      checkCancelled: async () => {
        const answer = answers[Math.min(looks++, answers.length - 1)] ?? wanted;
        if (looks === untilLooks) end.abort();
        if (answer instanceof Error) throw answer;
        return answer;
      },
    },
    log: createLog({ level: 'fatal', format: 'text', redactor: createRedactor(), write: () => undefined }),
    pollSeconds,
    signal: end.signal,
    clock,
  });
  if (!watched.signal.aborted) await Promise.race([once(watched.signal, 'abort'), once(end.signal, 'abort')]);
  return { stopped: watched.signal.aborted, looks, pauses, seconds: clock.elapsedSeconds };
}

test('watchCancellation() gives up an action that a server does not want, after looking again, within 10 seconds of waiting', async () => {
  for (let round = 0; round < 50; round++) {
    const { stopped, looks, pauses, seconds } = await watch([gone]);
    assert.ok(stopped);
    assert.equal(looks, 4);
    assert.ok(seconds <= limitSeconds, `${seconds} s`);
    // A server that has just started has that long to read its workflows.
    assert.deepEqual(pauses.slice(1), [1.5, 1.5, 1.5]);
  }
});

test('watchCancellation() gives up an action at once when the answer is final', async () => {
  const { stopped, looks } = await watch([wanted, goneForGood]);
  assert.ok(stopped);
  assert.equal(looks, 2);
});

test('watchCancellation() does not give up an action because of refusals with another answer or a failure between them', async () => {
  const failure = new TransportError({ what: 'call', target: 'the server', why: 'it is away' });
  const { stopped, pauses } = await watch([gone, gone, gone, wanted, gone, gone, gone, failure, gone, wanted], 40);
  assert.equal(stopped, false);
  // While it is wanted, the server is asked no more often than for work.
  assert.ok(
    pauses.slice(12).every((pause) => pause >= pollSeconds && pause <= (pollSeconds * 5) / 3),
    `${pauses}`,
  );
});
