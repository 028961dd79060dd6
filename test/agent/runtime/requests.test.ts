import assert from 'node:assert/strict';
import diagnostics from 'node:diagnostics_channel';
import type { ClientRequest } from 'node:http';
import { after, before, beforeEach, test } from 'node:test';
import type { DisposableRuntime } from '../../../agent/runtime/container-runtime.ts';
import { createDockerRuntime } from '../../../agent/runtime/docker/runtime.ts';
import { watchClientSockets } from '../../sandbox/client-sockets.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';
import { type DockerFixture, shell, startDockerFixture } from './runtime-fixture.ts';

// Each request costs the agent a millisecond or more of CPU; what has been answered is not asked
// again.

const never = new AbortController().signal;
let fixture: DockerFixture;
let runtime: DisposableRuntime;
/**
 * The requests that this process has sent to the engine, in order: method and path, without ids and
 * parameters.
 */
let sent: string[] = [];

/** Node publishes each HTTP request when it is sent. */
function onRequest(message: unknown): void {
  const { request } = message as { readonly request: ClientRequest };
  if (request.host !== 'localhost') return;
  const path = request.path.replace(/\?.*/, '').replace(/(?<=^\/containers\/)(?!create$|json$)[^/]+/, 'ID');
  sent.push(`${request.method} ${path}`);
}

before(async () => {
  fixture = await startDockerFixture();
  diagnostics.subscribe('http.client.request.start', onRequest);
});
after(async () => {
  diagnostics.unsubscribe('http.client.request.start', onRequest);
  await fixture[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await runtime?.[Symbol.asyncDispose]();
  runtime = createDockerRuntime({ ...fixture.options, host: fixture.engine.host });
  sent = [];
});
after(() => runtime[Symbol.asyncDispose]());

async function runOne(workflowId: string, id: string, on = runtime): Promise<void> {
  const action = shell('echo done', { workflowId, id });
  assert.equal((await on.run(action, never)).verdict, 'SUCCESS');
  await on.release(action);
}

test('an action after the first of its workflow makes the fewest requests', async () => {
  // Time stands still: an exit that is reported late, after the end of the output, is not asked
  // for.
  const clock = new VirtualClock();
  using _ = clock.hold();
  await using timeless = createDockerRuntime({ ...fixture.options, host: fixture.engine.host, clock });
  await runOne('w', '0', timeless);
  sent = [];
  await runOne('w', '1', timeless);
  assert.deepEqual(sent, [
    'POST /images/create',
    'POST /containers/create',
    'POST /containers/ID/attach',
    'GET /events',
    'POST /containers/ID/start',
    'POST /containers/ID/wait',
    'DELETE /containers/ID',
  ]);
});

test('leftovers of an earlier agent are looked for once for each workflow', async () => {
  for (const [workflowId, id] of [
    ['w', '0'],
    ['w', '1'],
    ['x', '0'],
    ['x', '1'],
  ] as const)
    await runOne(workflowId, id);
  assert.equal(sent.filter((request) => request === 'GET /containers/json').length, 2);
});

test('after an action that failed to run, leftovers are looked for again', async () => {
  await runOne('w', '0');
  const broken = shell('true', { workflowId: 'w', id: '1', volumes: ['not a volume'] });
  assert.equal((await runtime.run(broken, never)).verdict, 'FAILED');
  sent = [];
  await runOne('w', '2');
  assert.equal(sent.filter((request) => request === 'GET /containers/json').length, 1);
});

test('after an outage remembered answers of the engine are requested again', async () => {
  await runOne('w', '0');
  sent = [];
  await fixture.engine.stop();
  const running = runOne('w', '1');
  await fixture.untilEvent((event) => event.kind === 'engine' && !event.reachable);
  await fixture.engine.start();
  await running;
  await runOne('w', '2');
  // Containers, the default network and the log driver.
  const known = ['GET /containers/json', 'GET /info', 'GET /networks'];
  assert.deepEqual(sent.filter((request) => known.includes(request)).sort(), known);
});

test('a runtime that is disposed of closes its connections at once', async () => {
  using connections = watchClientSockets();
  await runOne('w', '0');
  assert.ok(
    connections.sockets.some((socket) => !socket.destroyed),
    'no connection was kept open',
  );
  await runtime[Symbol.asyncDispose]();
  assert.deepEqual(
    connections.sockets.filter((socket) => !socket.destroyed),
    [],
  );
});
