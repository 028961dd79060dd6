import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { status } from '@grpc/grpc-js';
import type { Action, Event, Verdict } from '../../../../agent/action/action.ts';
import type { LegacyDialect } from '../../../../agent/transport/grpc/dialect.ts';
import { createServerTransport, type ServerTransportOptions } from '../../../../agent/transport/grpc/server.ts';
import { type Next, type Transport, TransportError } from '../../../../agent/transport/transport.ts';
import {
  type ExampleTask,
  hardwareJson,
  MACHINE_ONE,
  MACHINE_TWO,
  templateOf,
} from '../../../sandbox/tink-server/example.ts';
import {
  type Interference,
  onKubernetes,
  startTinkServer,
  type TinkServer,
} from '../../../sandbox/tink-server/server.ts';
import { VirtualClock } from '../../../sandbox/virtual-clock.ts';

const DIALECTS = ['v0.1', 'v0.2', 'v0.9'] as const;
const never = new AbortController().signal;

/** A server with two machines, and a client of the first. */
async function start(
  test: TestContext,
  dialect: LegacyDialect = 'v0.1',
  options: Partial<ServerTransportOptions> = {},
) {
  const server = await startTinkServer({ dialect });
  test.after(() => server.stop());
  server.pushHardware(hardwareJson(MACHINE_ONE));
  server.pushHardware(hardwareJson(MACHINE_TWO));
  return { server, transport: connect(test, server, MACHINE_ONE, options) };
}

function connect(
  test: TestContext,
  server: TinkServer,
  machine: typeof MACHINE_ONE,
  options: Partial<ServerTransportOptions> = {},
): Transport {
  const kubernetes = onKubernetes(server.dialect);
  const transport = createServerTransport({
    authority: server.authority,
    workerId: kubernetes ? machine.mac : machine.id,
    rpcTimeoutSeconds: 5,
    ...(server.tls ? { certificateAuthority: server.certificate.bundle } : { tls: false }),
    ...options,
  });
  test.after(() => transport[Symbol.asyncDispose]());
  return transport;
}

function createWorkflow(server: TinkServer, ...tasks: ExampleTask[]): string {
  const values = { one: MACHINE_ONE.mac, two: MACHINE_TWO.mac };
  return server.createWorkflow(server.createTemplate('example', templateOf(...tasks)), values);
}

const threeActions: ExampleTask[] = [['disk', 'one', ['wipe', 'partition', 'write']]];

function started(action: Action): Event {
  return { kind: 'started', action, at: new Date() };
}

function ended(action: Action, verdict: Verdict = 'SUCCESS', message = 'exit code 0'): Event {
  const endedAt = new Date();
  return {
    kind: 'ended',
    action,
    outcome: { verdict, message, startedAt: new Date(endedAt.getTime() - 7900), endedAt },
  };
}

async function nextAction(transport: Transport): Promise<Extract<Next, { kind: 'action' }>> {
  const next = await transport.next(never);
  assert.ok(next.kind === 'action', `idle: ${JSON.stringify(next)}`);
  return next;
}

/**
 * Runs the next action as an agent does.
 *
 * @returns its name
 */
async function runNext(transport: Transport): Promise<string> {
  const { action } = await nextAction(transport);
  await transport.report(started(action), never);
  await transport.report(ended(action), never);
  return action.name;
}

function history(server: TinkServer, workflowId: string): string[] {
  return server.events(workflowId).map(({ actionName, progress }) => `${actionName} ${progress}`);
}

/** Makes one call go wrong: the first of `rpc` (to which `when` agrees). */
function once(rpc: string, interference: Interference): (name: string) => Interference | undefined {
  let left = 1;
  return (name) => (name === rpc && left-- > 0 ? interference : undefined);
}

for (const dialect of DIALECTS) {
  describe(`a server of dialect ${dialect}`, () => {
    it('gives its actions in order and takes their reports', async (test) => {
      const { server, transport } = await start(test, dialect);
      const workflowId = createWorkflow(server, ...threeActions);
      const acknowledgements: (boolean | string)[] = [];
      for (const name of ['wipe', 'partition', 'write']) {
        const next = await nextAction(transport);
        assert.equal(next.action.name, name);
        assert.equal(next.alreadyStarted, false);
        await transport.report(started(next.action), never);
        assert.equal((await nextAction(transport)).alreadyStarted, true);
        const acknowledgement = await transport.report(ended(next.action), never);
        assert.ok(acknowledgement.kind === 'acknowledged');
        acknowledgements.push(acknowledgement.workflowDone);
      }
      assert.deepEqual(acknowledgements, [false, false, true]);
      assert.equal((await transport.next(never)).kind, 'idle');
      assert.deepEqual(history(server, workflowId), [
        'wipe RUNNING',
        'wipe SUCCESS',
        'partition RUNNING',
        'partition SUCCESS',
        'write RUNNING',
        'write SUCCESS',
      ]);
    });

    it('is recognised as such', async (test) => {
      const { server } = await start(test, dialect);
      const workflowId = createWorkflow(server, ...threeActions);
      for (const wrong of DIALECTS.filter((other) => other !== dialect)) {
        await assert.rejects(connect(test, server, MACHINE_ONE, { dialect: wrong }).next(never), /UNIMPLEMENTED/);
      }
      const right = connect(test, server, MACHINE_ONE, { dialect });
      assert.equal((await nextAction(right)).action.workflowId, workflowId);
    });

    it('ends the workflow when an action fails', async (test) => {
      const { server, transport } = await start(test, dialect);
      const workflowId = createWorkflow(server, ...threeActions);
      const { action } = await nextAction(transport);
      await transport.report(started(action), never);
      const answer = await transport.report(ended(action, 'FAILED', 'exit code 3: no space left'), never);
      assert.deepEqual(answer, { kind: 'acknowledged', workflowDone: false });
      assert.equal((await transport.next(never)).kind, 'idle');
      assert.deepEqual(history(server, workflowId), ['wipe RUNNING', 'wipe FAILED']);
    });

    it('has an event once although the answer to each report was lost', async (test) => {
      const { server, transport } = await start(test, dialect);
      const workflowId = createWorkflow(server, ['only', 'one', ['first', 'last']]);
      for (const name of ['first', 'last']) {
        const { action } = await nextAction(transport);
        for (const event of [started(action), ended(action)]) {
          server.interfere = once('ReportActionStatus', { kind: 'lose answer' });
          const answer = await retry(() => transport.report(event, never));
          const done = name === 'last' && event.kind === 'ended';
          assert.deepEqual(answer, { kind: 'acknowledged', workflowDone: done });
        }
      }
      assert.equal(server.panic, undefined);
      assert.deepEqual(history(server, workflowId), ['first RUNNING', 'first SUCCESS', 'last RUNNING', 'last SUCCESS']);
    });

    it('has an event once although the report was lost first', async (test) => {
      const { server, transport } = await start(test, dialect);
      const workflowId = createWorkflow(server, ['only', 'one', ['last']]);
      const { action } = await nextAction(transport);
      for (const event of [started(action), ended(action, 'TIMEOUT')]) {
        server.interfere = once('ReportActionStatus', { kind: 'lose request' });
        await assert.rejects(transport.report(event, never), TransportError);
        assert.equal((await retry(() => transport.report(event, never))).kind, 'acknowledged');
      }
      assert.deepEqual(history(server, workflowId), ['last RUNNING', 'last TIMEOUT']);
    });

    it('does not want the report on a workflow that was deleted meanwhile', async (test) => {
      const { server, transport } = await start(test, dialect);
      const workflowId = createWorkflow(server, ...threeActions);
      const { action } = await nextAction(transport);
      await transport.report(started(action), never);
      server.deleteWorkflow(workflowId);
      for (const event of [started(action), ended(action)]) {
        const answer = await transport.report(event, never);
        assert.ok(answer.kind === 'obsolete');
        assert.match(answer.reason, /does not exist any more/);
      }
      assert.equal(server.panic, undefined);
      assert.equal((await transport.next(never)).kind, 'idle');
    });

    it('wants an action until another client ends its workflow, or it is deleted', async (test) => {
      const { server, transport } = await start(test, dialect);
      createWorkflow(server, ...threeActions);
      const { action: first } = await nextAction(transport);
      await transport.report(started(first), never);
      assert.deepEqual(await transport.checkCancelled(first, never), { kind: 'active' });
      await transport.report(ended(first, 'FAILED'), never);
      assert.equal((await transport.checkCancelled(first, never)).kind, 'cancelled');
      const workflowId = createWorkflow(server, ...threeActions);
      const { action: second } = await nextAction(transport);
      await transport.report(started(second), never);
      server.deleteWorkflow(workflowId);
      const reason = 'the workflow does not exist any more';
      assert.deepEqual(await transport.checkCancelled(second, never), { kind: 'cancelled', reason });
    });

    it('hands a workflow over to the worker of the next task', async (test) => {
      const { server, transport } = await start(test, dialect);
      const workflowId = createWorkflow(
        server,
        ['a', 'one', ['boot', 'burn']],
        ['b', 'two', ['check']],
        ['c', 'one', ['install']],
      );
      const second = connect(test, server, MACHINE_TWO);
      assert.equal((await second.next(never)).kind, 'idle');
      assert.equal(await runNext(transport), 'boot');
      assert.equal(await runNext(transport), 'burn');
      assert.equal((await transport.next(never)).kind, 'idle');
      assert.equal(await runNext(second), 'check');
      assert.equal(await runNext(transport), 'install');
      assert.equal(history(server, workflowId).length, 8);
    });

    it('gives two workflows one after the other', async (test) => {
      const { server, transport } = await start(test, dialect);
      createWorkflow(server, ['x', 'one', ['x1', 'x2']]);
      createWorkflow(server, ['y', 'one', ['y1', 'y2']]);
      const order: string[] = [];
      while ((await transport.next(never)).kind === 'action') order.push(await runNext(transport));
      assert.deepEqual(order, ['x1', 'x2', 'y1', 'y2']);
    });

    it('goes on after a restart where it was', async (test) => {
      const { server, transport } = await start(test, dialect);
      createWorkflow(server, ...threeActions);
      const { action } = await nextAction(transport);
      await transport.report(started(action), never);
      await server.stop();
      await assert.rejects(transport.report(ended(action), never), /UNAVAILABLE.*\(is the server running/);
      await server.start();
      const answer = await retry(() => transport.report(ended(action), never));
      assert.deepEqual(answer, { kind: 'acknowledged', workflowDone: false });
      assert.equal(await runNext(transport), 'partition');
    });
  });
}

for (const dialect of ['v0.7', 'v0.9'] as const) {
  describe(`a server of dialect ${dialect}, which hides workflows that ended`, () => {
    /**
     * Reports the end of the last action from an agent that does not know another's report of it.
     */
    async function reportAnew(test: TestContext, before: (last: Action, transport: Transport) => Event[]) {
      const { server, transport } = await start(test, dialect);
      const workflowId = createWorkflow(server, ['only', 'one', ['first', 'last']]);
      await runNext(transport);
      const { action } = await nextAction(transport);
      for (const event of before(action, transport)) await transport.report(event, never);
      const recorded = history(server, workflowId);
      const answer = await connect(test, server, MACHINE_ONE).report(ended(action), never);
      assert.deepEqual(history(server, workflowId), recorded);
      return answer;
    }

    it('has the success of the last action, as an agent finds out that was killed before it knew', async (test) => {
      const answer = await reportAnew(test, (last) => [started(last), ended(last)]);
      assert.deepEqual(answer, { kind: 'acknowledged', workflowDone: true });
    });

    for (const verdict of ['FAILED', 'TIMEOUT'] as const) {
      it(`keeps a ${verdict} that was recorded before the success came`, async (test) => {
        const answer = await reportAnew(test, (last) => [started(last), ended(last, verdict)]);
        assert.ok(answer.kind === 'obsolete');
        assert.match(answer.reason, /the workflow has ended, or is no longer for this worker/);
      });
    }

    it('has the success although another worker is at its turn', async (test) => {
      const { server, transport } = await start(test, dialect);
      const workflowId = createWorkflow(server, ['a', 'one', ['mine']], ['b', 'two', ['theirs']]);
      const { action } = await nextAction(transport);
      for (const event of [started(action), ended(action)]) await transport.report(event, never);
      const answer = await connect(test, server, MACHINE_ONE).report(ended(action), never);
      assert.deepEqual(answer, { kind: 'acknowledged', workflowDone: false });
      assert.deepEqual(history(server, workflowId), ['mine RUNNING', 'mine SUCCESS']);
    });

    it('waits for another worker to begin a workflow again that we knew as done', async (test) => {
      const { server, transport } = await start(test, dialect);
      createWorkflow(server, ['a', 'two', ['theirs']], ['b', 'one', ['mine']]);
      await runNext(connect(test, server, MACHINE_TWO));
      const { action } = await nextAction(transport);
      const again = createWorkflow(server, ['a', 'two', ['theirs']], ['b', 'one', ['mine']]);
      // Workflows are called by a name, which may be given again.
      const answer = await transport.report(ended({ ...action, workflowId: again }), never);
      assert.ok(answer.kind === 'obsolete');
      assert.match(answer.reason, /at an earlier action/);
    });

    it('is asked again when it cannot say how far a workflow is', async (test) => {
      const { server, transport } = await start(test, dialect);
      createWorkflow(server, ['only', 'one', ['last']]);
      const { action } = await nextAction(transport);
      for (const event of [started(action), ended(action)]) await transport.report(event, never);
      const restarted = connect(test, server, MACHINE_ONE);
      server.interfere = once('ReportActionStatus', { kind: 'fail', code: status.UNKNOWN, details: 'etcd is away' });
      await assert.rejects(restarted.report(ended(action), never), /etcd is away/);
      assert.deepEqual(await restarted.report(ended(action), never), { kind: 'acknowledged', workflowDone: true });
    });
  });
}

/** Tries again as long as the connection is not back; tests the promise that this is safe. */
async function retry<Result>(attempt: () => Promise<Result>): Promise<Result> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof TransportError) || Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

describe('next()', () => {
  it('finds a workflow that the stream of contexts hides', async (test) => {
    const { server, transport } = await start(test);
    createWorkflow(server, ...threeActions);
    await runNext(transport);
    await runNext(transport);
    const restarted = connect(test, server, MACHINE_ONE);
    const { action, alreadyStarted } = await nextAction(restarted);
    assert.deepEqual([action.name, alreadyStarted], ['write', false]);
  });

  it('names the worker that the workflow waits for', async (test) => {
    const { server } = await start(test);
    const workflowId = createWorkflow(server, ['a', 'one', ['first']], ['b', 'two', ['second']]);
    await runNext(connect(test, server, MACHINE_ONE));
    const next = await connect(test, server, MACHINE_ONE).next(never);
    const reason = `workflow ${workflowId} waits for worker ${MACHINE_TWO.id} to run second`;
    assert.deepEqual(next, { kind: 'idle', reason });
  });

  it('says that there is no workflow for this worker', async (test) => {
    const { transport } = await start(test);
    assert.deepEqual(await transport.next(never), {
      kind: 'idle',
      reason: `the server has no workflow for worker ${MACHINE_ONE.id}`,
    });
  });

  it('gives an action as the template has it', async (test) => {
    const { server, transport } = await start(test);
    const template = `
version: "0.1"
name: full
tasks:
- name: task
  worker: "{{ .one }}"
  volumes: [/dev:/dev, /statedir:/statedir]
  environment: {A: task, B: task}
  actions:
  - name: act
    image: registry.example:5000/tools/act:1
    timeout: 90
    command: [sh, -c, "echo 'x y'"]
    on-timeout: [sh, -c, t]
    on-failure: [sh, -c, f]
    volumes: [/statedir:/other:ro]
    environment: {B: action}
    pid: host
`;
    const values = { one: MACHINE_ONE.address };
    const workflowId = server.createWorkflow(server.createTemplate('full', template), values);
    const { action } = await nextAction(transport);
    assert.deepEqual(action, {
      workflowId,
      taskName: 'task',
      name: 'act',
      id: '0/task/act',
      workerId: MACHINE_ONE.id,
      image: 'registry.example:5000/tools/act:1',
      registryPrefix: 'always',
      sharesDirectory: true,
      command: ['sh', '-c', "echo 'x y'"],
      environment: ['A=task', 'B=action'],
      volumes: ['/dev:/dev', '/statedir:/other:ro'],
      timeoutSeconds: 90,
      pidMode: 'host',
      networkMode: undefined,
      onTimeout: ['sh', '-c', 't'],
      onFailure: ['sh', '-c', 'f'],
    } satisfies Action);
  });

  it('names a worker id that the server cannot take', async (test) => {
    const { server } = await start(test);
    const transport = connect(test, server, MACHINE_ONE, { workerId: MACHINE_ONE.mac });
    await assert.rejects(transport.next(never), /ABORTED: pq: invalid input syntax for type uuid: "08:00:27:00:00:01"/);
  });

  it('says that a server speaks no dialect it knows', async (test) => {
    const { Server, ServerCredentials } = await import('@grpc/grpc-js');
    const empty = new Server();
    test.after(() => empty.forceShutdown());
    const port = await new Promise<number>((resolve, reject) => {
      empty.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    const transport = createServerTransport({ authority: `127.0.0.1:${port}`, workerId: 'x', tls: false });
    test.after(() => transport[Symbol.asyncDispose]());
    await assert.rejects(
      transport.next(never),
      /cannot get work from 127\S+: it speaks no protocol version of tink v0\.1 to v0\.12 and not that of later/,
    );
  });

  it('ends with the reason of its signal', async (test) => {
    const { server, transport } = await start(test);
    createWorkflow(server, ...threeActions);
    const held = Promise.withResolvers<void>();
    const called = Promise.withResolvers<void>();
    test.after(() => held.resolve());
    server.interfere = () => {
      called.resolve();
      return { kind: 'hold', until: held.promise };
    };
    const controller = new AbortController();
    const next = transport.next(controller.signal);
    await called.promise;
    controller.abort(new Error('shutting down'));
    await assert.rejects(next, /^Error: shutting down$/);
  });

  it('fails when the server does not answer before the deadline, and recovers', async (test) => {
    const { server, transport } = await start(test, 'v0.1', { clock: new VirtualClock(), rpcTimeoutSeconds: 20 });
    createWorkflow(server, ...threeActions);
    const held = Promise.withResolvers<void>();
    server.interfere = () => ({ kind: 'hold', until: held.promise });
    await assert.rejects(transport.next(never), /DEADLINE_EXCEEDED/);
    server.interfere = undefined;
    held.resolve();
    assert.equal((await retry(() => nextAction(transport))).action.name, 'wipe');
  });
});

describe('report()', () => {
  it('tells the server what happened, how long it took and by whom', async (test) => {
    const { server, transport } = await start(test);
    const workflowId = createWorkflow(server, ...threeActions);
    const { action } = await nextAction(transport);
    await transport.report(started(action), never);
    await transport.report(ended(action, 'FAILED', 'exit code 3:\n  no space left on device\n'), never);
    const event = server.events(workflowId).at(-1);
    assert.equal(event?.status, 'ACTION_FAILED');
    assert.equal(event?.seconds, 7);
    assert.equal(event?.message, 'exit code 3: no space left on device');
    assert.equal(event?.workerId, MACHINE_ONE.id);
  });

  it('does not start an action that the server shows as running', async (test) => {
    const { server, transport } = await start(test);
    const workflowId = createWorkflow(server, ['only', 'one', ['last']]);
    const { action } = await nextAction(transport);
    await transport.report(started(action), never);
    assert.equal((await connect(test, server, MACHINE_ONE).report(started(action), never)).kind, 'acknowledged');
    assert.equal(server.panic, undefined);
    assert.deepEqual(history(server, workflowId), ['last RUNNING']);
  });

  it('acknowledges the end of an action that the server has passed', async (test) => {
    const { server, transport } = await start(test);
    createWorkflow(server, ...threeActions);
    const { action } = await nextAction(transport);
    await runNext(transport);
    await runNext(transport);
    assert.equal((await transport.report(ended(action), never)).kind, 'acknowledged');
    assert.equal((await transport.report(started(action), never)).kind, 'obsolete');
  });

  it('drops the success of an action that the server has recorded as failed', async (test) => {
    const { server, transport } = await start(test);
    createWorkflow(server, ...threeActions);
    const { action } = await nextAction(transport);
    await transport.report(started(action), never);
    await transport.report(ended(action, 'FAILED'), never);
    const answer = await transport.report(ended(action), never);
    assert.ok(answer.kind === 'obsolete');
    assert.match(answer.reason, /wipe of workflow .*: the server has recorded its failure/);
  });

  it('makes up for a start that the server has forgotten', async (test) => {
    const { server, transport } = await start(test);
    const workflowId = createWorkflow(server, ...threeActions);
    await runNext(transport);
    const { action } = await nextAction(transport);
    assert.equal((await transport.report(ended(action), never)).kind, 'acknowledged');
    assert.deepEqual(history(server, workflowId), [
      'wipe RUNNING',
      'wipe SUCCESS',
      'partition RUNNING',
      'partition SUCCESS',
    ]);
  });

  it('is refused with the reason as long as the server refuses and has not moved on', async (test) => {
    const { server, transport } = await start(test);
    createWorkflow(server, ...threeActions);
    const { action } = await nextAction(transport);
    server.interfere = once('ReportActionStatus', { kind: 'fail', code: status.INVALID_ARGUMENT, details: 'not now' });
    await assert.rejects(
      transport.report(started(action), never),
      /ReportActionStatus at .* INVALID_ARGUMENT: not now/,
    );
    assert.equal((await transport.report(started(action), never)).kind, 'acknowledged');
  });

  it('sends no message that the server cannot store', async (test) => {
    const { server, transport } = await start(test);
    const workflowId = createWorkflow(server, ...threeActions);
    const { action } = await nextAction(transport);
    await transport.report(started(action), never);
    await transport.report(ended(action, 'FAILED', `exit code 1: ${'é😀\n'.repeat(500)}the end\0`), never);
    const message = server.events(workflowId).at(-1)?.message ?? '';
    assert.equal(Array.from(message).length, 200);
    assert.match(message, /^exit code 1: é😀 .*…[^\n]*the end$/u);
  });
});

const noData = { directory: () => '/nowhere', notice: () => undefined };

describe('an action costs few calls', () => {
  // A poll, the report of the start with the workflow's data, a look, and the report of the end.
  const expected = {
    'v0.1': ['ContextList', 'Actions', 'Report', 'Data', 'ContextList', 'Report'],
    'v0.2': ['ContextList', 'Actions', 'Report', 'Data', 'ContextList', 'Report'],
    'v0.7': ['Contexts', 'Actions', 'Report', 'Data', 'Contexts', 'Report'],
    'v0.9': ['Contexts', 'Actions', 'Report', 'Contexts', 'Report'],
  } as const;

  for (const dialect of ['v0.1', 'v0.2', 'v0.7', 'v0.9'] as const) {
    it(`to a server of dialect ${dialect}`, async (test) => {
      const { server, transport } = await start(test, dialect, { workflowData: noData });
      createWorkflow(server, ['many', 'one', ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']]);
      const calls: string[][] = [];
      using _ = server.subscribeToCalls((rpc) => {
        calls.at(-1)?.push(rpc.replace(/^Get(?:Workflow)?|Status$|Action(?=Status$)/g, ''));
      });
      for (let left = 8; left > 0; left--) {
        calls.push([]);
        await runNext(transport);
      }
      // The answer to a poll is used only while it is fresh, which it may not be on a busy machine.
      const fewest = calls.slice(1).toSorted((a, b) => a.length - b.length)[0];
      assert.deepEqual(fewest, expected[dialect]);
    });
  }

  it('and a server that takes the place of one that has no list of workflows is asked for the list before it is taken for one', async (test) => {
    const { server, transport } = await start(test, 'v0.7');
    const workflowId = createWorkflow(server, ...threeActions);
    await runNext(transport);
    const { action } = await nextAction(transport);
    await transport.report(started(action), never);
    server.deleteWorkflow(workflowId);
    const calls: string[] = [];
    using _ = server.subscribeToCalls((rpc) => calls.push(rpc));
    assert.equal((await transport.report(ended(action), never)).kind, 'obsolete');
    assert.ok(calls.includes('GetWorkflowContextList'), `${calls}`);
  });
});
