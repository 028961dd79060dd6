import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDockerEngine } from '../../../agent/runtime/docker/engine.ts';
import { connectEngine } from '../../../agent/runtime/engine-connection.ts';
import { EngineError, type EngineFailure } from '../../../agent/runtime/engine-error.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';

const never = new AbortController().signal;

function failure(reason: EngineFailure): EngineError {
  return new EngineError(reason, { what: 'ask', target: 'the engine', why: `it is ${reason}` });
}

/** A request that fails for some reasons, one after the other, and then succeeds. */
function requestFailing(...reasons: EngineFailure[]): () => Promise<string> {
  return async () => {
    const reason = reasons.shift();
    if (reason !== undefined) throw failure(reason);
    return 'answer';
  };
}

/** A connection to an engine that answers `ping`; the requests are those of the test. */
function connect() {
  const changes: string[] = [];
  let pings = 0;
  const ping = async () => {
    pings += 1;
  };
  const engine = Object.assign(createDockerEngine('/nowhere'), { ping });
  const clock = new VirtualClock();
  const connection = connectEngine(engine, 'here', clock, (reachable, message) => {
    changes.push(`${reachable}: ${message}`);
  });
  return { connection, changes, pings: () => pings };
}

const unavailable = 'false: cannot reach the container engine at here: it is unavailable; trying again';
const available = 'true: the container engine at here answers again';

test('an engine that has never answered is awaited, and pinged before each further request', async () => {
  const { connection, changes, pings } = connect();
  const request = requestFailing('unavailable', 'unavailable', 'unavailable');
  assert.equal(await connection.call(request, never), 'answer');
  // Each ping finds the engine, and each request after it loses it: from then on it has answered.
  assert.equal(changes[0], unavailable);
  assert.equal(changes.at(-1), available);
  assert.equal(pings(), 3);
});

test('an engine that answered before and does not now is lost: that is an outage', async () => {
  const { connection, changes } = connect();
  await connection.call(requestFailing(), never);
  assert.equal(connection.outages(), 0);
  await connection.call(requestFailing('unavailable'), never);
  assert.equal(connection.outages(), 1);
  assert.deepEqual(changes, [unavailable, available]);
});

test('any other failure is thrown, and means that the engine answers', async () => {
  const { connection, changes } = connect();
  for (const reason of ['no-such-container', 'name-taken', 'refused'] as const)
    await assert.rejects(connection.call(requestFailing(reason), never), failure(reason));
  assert.deepEqual([changes, connection.outages()], [[], 0]);
});
