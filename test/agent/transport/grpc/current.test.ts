import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { status } from '@grpc/grpc-js';
import type { Action, Event, Verdict } from '../../../../agent/action/action.ts';
import { toDuration } from '../../../../agent/transport/grpc/current.ts';
import { createServerTransport, type ServerTransportOptions } from '../../../../agent/transport/grpc/server.ts';
import { type Transport, TransportError } from '../../../../agent/transport/transport.ts';
import type { ActionRequest } from '../../../../proto/agent.pb.ts';
import { MACHINE_ONE, templateOf } from '../../../sandbox/tink-server/example.ts';
import { startTinkServer, type TinkServer, type TinkServerOptions } from '../../../sandbox/tink-server/server.ts';

const never = new AbortController().signal;

async function start(test: TestContext, options: TinkServerOptions = {}) {
  const retry = { intervalSeconds: 0.02, limitSeconds: 0.06 };
  const server = await startTinkServer({ dialect: 'current', retry, ...options });
  test.after(() => server.stop());
  return { server, transport: connect(test, server) };
}

function connect(test: TestContext, server: TinkServer, options: Partial<ServerTransportOptions> = {}): Transport {
  const { authority } = server;
  const transport = createServerTransport({ authority, workerId: MACHINE_ONE.mac, tls: false, ...options });
  test.after(() => transport[Symbol.asyncDispose]());
  return transport;
}

function createWorkflow(server: TinkServer, template = templateOf(['task', 'one', ['wipe', 'write']])): string {
  return server.createWorkflow(server.createTemplate('example', template), { one: MACHINE_ONE.mac });
}

async function nextAction(transport: Transport): Promise<Action> {
  const next = await transport.next(never);
  assert.ok(next.kind === 'action', JSON.stringify(next));
  return next.action;
}

const startedAt = new Date('2026-01-02T03:04:05.006Z');

function ended(action: Action, verdict: Verdict, message = 'exit code 0'): Event {
  const endedAt = new Date(startedAt.getTime() + 90_000);
  return { kind: 'ended', action, outcome: { verdict, message, startedAt, endedAt } };
}

describe('next() of a current server', () => {
  it('gives an action as the template has it', async (test) => {
    const { server, transport } = await start(test);
    const template = `
name: full
tasks:
- name: task
  worker: "{{ .one }}"
  volumes: [/dev:/dev, /statedir:/statedir]
  environment: {Z: task, B: task}
  actions:
  - name: act
    image: registry.example:5000/tools/act:1
    timeout: 90
    command: [sh, -c, "echo 'x y'"]
    on-failure: [sh, -c, f]
    volumes: [/statedir:/other:ro]
    environment: {B: action}
    namespaces: {network: host, pid: host}
`;
    const workflowId = createWorkflow(server, template);
    assert.match(workflowId, /^tink-system\//);
    const action = await nextAction(transport);
    const [known] = server.status(workflowId).actions;
    assert.deepEqual(action, {
      workflowId,
      taskName: known?.taskId ?? '',
      name: 'act',
      id: known?.id ?? '',
      workerId: MACHINE_ONE.mac,
      image: 'registry.example:5000/tools/act:1',
      registryPrefix: 'never',
      sharesDirectory: false,
      command: ['sh', '-c', "echo 'x y'"],
      environment: ['B=action', 'Z=task'],
      volumes: ['/dev:/dev', '/statedir:/statedir', '/statedir:/other:ro'],
      timeoutSeconds: 90,
      pidMode: 'host',
      networkMode: 'host',
      onTimeout: [],
      onFailure: [],
    } satisfies Action);
  });

  it('waits on the server for a workflow that comes meanwhile', async (test) => {
    const { server, transport } = await start(test, { retry: { intervalSeconds: 0.01, limitSeconds: 20 } });
    const asked = Promise.withResolvers<void>();
    using _ = server.subscribeToCalls(() => asked.resolve());
    const next = nextAction(transport);
    await asked.promise;
    createWorkflow(server);
    assert.equal((await next).name, 'wipe');
  });

  it('says why there is nothing, and whether the workflow may go on', async (test) => {
    const { server, transport } = await start(test);
    const reason = 'the server says: no Workflows found';
    assert.deepEqual(await transport.next(never), { kind: 'idle', reason, mayContinue: true });
    createWorkflow(server);
    await transport.report(ended(await nextAction(transport), 'FAILED'), never);
    const over = 'the server says: Workflow not in pending or running state';
    assert.deepEqual(await transport.next(never), { kind: 'idle', reason: over, mayContinue: false });
  });

  it('is given the same action until its end is reported, and by servers before v0.24 never again', async (test) => {
    const { server, transport } = await start(test);
    createWorkflow(server);
    assert.equal((await nextAction(transport)).id, (await nextAction(transport)).id);

    const older = await start(test, { servesAgain: false });
    createWorkflow(older.server);
    const action = await nextAction(older.transport);
    await older.transport.report({ kind: 'started', action, at: startedAt }, never);
    const reason = 'the server says: current Action not in success state';
    assert.deepEqual(await older.transport.next(never), { kind: 'idle', reason, mayContinue: true });
  });

  it('tells what the machine consists of with each question', async (test) => {
    const { server } = await start(test);
    const seen: unknown[] = [];
    using _ = server.subscribeToCalls((_rpc, request) => seen.push((request as ActionRequest).agentAttributes));
    const attributes = {
      ...{ block: [{ name: 'sda', size: '8GB' }], pci: [], gpu: [], memory: { total: '2GB' } },
      network: [{ name: 'eth0', mac: MACHINE_ONE.mac, enabledCapabilities: ['auto'] }],
      cpu: { totalCores: 2, processors: [{ id: 0, capabilities: ['sse2'] }] },
    };
    const transport = connect(test, server, { attributes: async () => attributes });
    await transport.next(never);
    await transport.next(never);
    for (const told of seen) assert.partialDeepStrictEqual(told, attributes);
    assert.equal(seen.length, 2);
  });

  it('is a failure where the server has one', async (test) => {
    const { server, transport } = await start(test);
    server.interfere = () => ({
      kind: 'fail',
      code: status.INTERNAL,
      details: 'error getting workflows: etcd is gone',
    });
    await assert.rejects(transport.next(never), /INTERNAL: error getting workflows: etcd is gone/);
  });
});

describe('report() to a current server', () => {
  it('sends times that the server can use, the duration and the reason', async (test) => {
    const { server, transport } = await start(test);
    const workflowId = createWorkflow(server);
    const action = await nextAction(transport);
    await transport.report({ kind: 'started', action, at: startedAt }, never);
    const stored = () => server.status(workflowId).actions[0];
    const executionStart = startedAt.toISOString();
    // null: Go's zero time arrived. Nothing at all would be 1970.
    assert.partialDeepStrictEqual(stored(), { state: 'RUNNING', executionStart, executionStop: null });
    const answer = await transport.report(ended(action, 'FAILED', 'exit code 3:\n no space left'), never);
    assert.deepEqual(answer, { kind: 'acknowledged', workflowDone: false });
    assert.partialDeepStrictEqual(stored(), {
      state: 'FAILED',
      executionStart,
      executionStop: '2026-01-02T03:05:35.006Z',
      executionDuration: '1m30s',
      message: 'exit code 3: no space left',
    });
    assert.equal(server.status(workflowId).state, 'FAILED');
  });

  it('does not know whether a success was the last one', async (test) => {
    const { server, transport } = await start(test);
    createWorkflow(server);
    const answer = await transport.report(ended(await nextAction(transport), 'SUCCESS'), never);
    assert.deepEqual(answer, { kind: 'acknowledged', workflowDone: 'unknown' });
  });

  it('is not wanted for an action or a workflow that does not exist', async (test) => {
    const { server, transport } = await start(test);
    const workflowId = createWorkflow(server);
    const action = await nextAction(transport);
    const other = await transport.report(ended({ ...action, id: 'other' }, 'SUCCESS'), never);
    assert.ok(other.kind === 'obsolete');
    assert.match(other.reason, /the server says: action not found/);
    server.deleteWorkflow(workflowId);
    const gone = await transport.report(ended(action, 'SUCCESS'), never);
    assert.ok(gone.kind === 'obsolete');
    assert.match(
      gone.reason,
      /^wipe of workflow tink-system\/.*: the server says: error reading from backend: error getting workflow: .* not found$/,
    );
  });

  it('is wanted for as long as the workflow exists, and asking for that changes nothing', async (test) => {
    const { server, transport } = await start(test);
    const workflowId = createWorkflow(server);
    const action = await nextAction(transport);
    const before = server.status(workflowId);
    assert.deepEqual(await transport.checkCancelled(action, never), { kind: 'active' });
    assert.deepEqual(server.status(workflowId), before);
    server.deleteWorkflow(workflowId);
    const demand = await transport.checkCancelled(action, never);
    assert.ok(demand.kind === 'cancelled');
    assert.match(demand.reason, /^the server says: error reading from backend: error getting workflow: .* not found$/);
    assert.equal(demand.isFinal, false);
    const patient = connect(test, server, { finalAfterSeconds: 0.01 });
    const last = await patient.checkCancelled(action, never);
    assert.ok(last.kind === 'cancelled' && last.isFinal === true);
  });

  it('is tried again while the store is in trouble', async (test) => {
    const { server, transport } = await start(test);
    createWorkflow(server);
    const action = await nextAction(transport);
    const details = 'error getting workflow: etcdserver: request timed out';
    server.interfere = (rpc) => (rpc === 'GetAction' ? undefined : { kind: 'fail', code: status.INTERNAL, details });
    await assert.rejects(transport.report(ended(action, 'SUCCESS'), never), TransportError);
  });
});

describe('toDuration()', () => {
  for (const [milliseconds, text] of [
    [0, '0s'],
    [15, '15ms'],
    [2015, '2s15ms'],
    [90_000, '1m30s'],
    [3_720_005, '1h2m'],
    [-5, '0s'],
  ] as const) {
    it(`writes ${milliseconds} ms as ${text}`, () => assert.equal(toDuration(milliseconds), text));
  }
});
