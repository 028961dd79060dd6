import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it, type TestContext } from 'node:test';
import { status } from '@grpc/grpc-js';
import { execa } from 'execa';
import { Channel, RpcError } from '../../../agent/transport/grpc/channel.ts';
import type { Method } from '../../../net/grpc/method.ts';
import {
  ActionState,
  HardwareServiceDefinition,
  State,
  TemplateServiceDefinition,
  type WorkflowActionStatus,
  WorkflowServiceDefinition,
} from '../../../proto/tink.pb.ts';
import { type ExampleTask, hardwareJson, MACHINE_ONE, MACHINE_TWO, templateOf } from './example.ts';
import { startTinkServer, type TinkServer, type TinkServerOptions } from './server.ts';

const PROTOS = 'github.com.tinkerbell.tink.protos';
const SERVICES = {
  'v0.1': `${PROTOS}.workflow.WorkflowSvc`,
  'v0.2': `${PROTOS}.workflow.WorkflowService`,
  'v0.7': `${PROTOS}.workflow.WorkflowService`,
  'v0.9': 'proto.WorkflowService',
  current: 'proto.WorkflowService',
};
const rpc = WorkflowServiceDefinition.methods;
const never = new AbortController().signal;
const [one, two] = [MACHINE_ONE.id, MACHINE_TWO.id];

/** A server with two machines and a client that sends exactly the given messages. */
async function start(test: TestContext, options: TinkServerOptions = {}) {
  const server = await startTinkServer(options);
  test.after(() => server.stop());
  server.pushHardware(hardwareJson(MACHINE_ONE));
  server.pushHardware(hardwareJson(MACHINE_TWO));
  return { server, client: connect(test, server) };
}

function connect(test: TestContext, server: TinkServer) {
  const security =
    server.dialect === 'v0.9' ? { tls: 'plaintext' as const } : { certificateUrl: server.certificateUrl };
  const channel = new Channel({ authority: server.authority, rpcTimeoutSeconds: 5, maxSendBytes: -1, ...security });
  test.after(() => channel[Symbol.asyncDispose]());
  const service = SERVICES[server.dialect];
  const call = <Request, Response>(method: Method<Request, Response>, request: Request) =>
    channel.call(service, method, request, never);
  return {
    channel,
    call,
    stream: (workerId: string) => channel.collect(service, rpc.getWorkflowContexts, { workerId }, never),
    list: async (workerId: string) => (await call(rpc.getWorkflowContextList, { workerId })).workflowContexts,
    actions: async (workflowId: string) => (await call(rpc.getWorkflowActions, { workflowId })).actionList,
    report: (workflowId: string, actionName: string, actionStatus: number, rest: Partial<WorkflowActionStatus> = {}) =>
      call(rpc.reportActionStatus, {
        workflowId,
        taskName: 'task',
        actionName,
        actionStatus,
        seconds: 0,
        message: '',
        createdAt: undefined,
        workerId: one,
        ...rest,
      }),
  };
}

function createWorkflow(server: TinkServer, ...tasks: ExampleTask[]): string {
  const values = { one: MACHINE_ONE.mac, two: MACHINE_TWO.address };
  return server.createWorkflow(server.createTemplate('example', templateOf(...tasks)), values);
}

function fails(code: status, details: RegExp) {
  return (error: unknown) => error instanceof RpcError && error.code === code && details.test(error.details);
}

const {
  ACTION_IN_PROGRESS: RUNNING,
  ACTION_SUCCESS: SUCCESS,
  ACTION_FAILED: FAILED,
  ACTION_TIMEOUT: TIMEOUT,
} = ActionState;

describe('contexts', () => {
  it('start with nothing current, for each worker of the workflow', async (test) => {
    const { server, client } = await start(test);
    const workflowId = createWorkflow(server, ['task', 'one', ['a', 'b']], ['other', 'two', ['c']]);
    const context = {
      workflowId,
      currentWorker: '',
      currentTask: '',
      currentAction: '',
      currentActionIndex: 0,
      currentActionState: 0,
      totalNumberOfActions: 3,
    };
    assert.deepEqual(await client.stream(one), [context]);
    assert.deepEqual(await client.list(one), [context]);
    assert.deepEqual(await client.stream(two), []);
    assert.deepEqual(await client.list(two), [context]);
  });

  it('disappear from the stream, not from the list, after the success of a second or later action', async (test) => {
    const { server, client } = await start(test);
    const workflowId = createWorkflow(server, ['task', 'one', ['a', 'b', 'c']]);
    await client.report(workflowId, 'a', RUNNING);
    await client.report(workflowId, 'a', SUCCESS);
    assert.equal((await client.stream(one)).length, 1);
    await client.report(workflowId, 'b', RUNNING);
    assert.equal((await client.stream(one)).length, 1);
    await client.report(workflowId, 'b', SUCCESS);
    assert.deepEqual(await client.stream(one), []);
    const [context] = await client.list(one);
    assert.deepEqual(
      [context?.currentAction, context?.currentActionIndex, context?.currentActionState],
      ['b', 1, SUCCESS],
    );
  });

  it('of failed and timed out workflows are listed and not streamed', async (test) => {
    const { server, client } = await start(test);
    for (const end of [FAILED, TIMEOUT]) {
      const workflowId = createWorkflow(server, ['task', 'one', ['a', 'b']]);
      await client.report(workflowId, 'a', RUNNING);
      await client.report(workflowId, 'a', end);
    }
    assert.deepEqual(await client.stream(one), []);
    assert.deepEqual(
      (await client.list(one)).map((context) => context.currentActionState),
      [FAILED, TIMEOUT],
    );
  });

  it('come in the order in which the workflows were created', async (test) => {
    const { server, client } = await start(test);
    const ids = ['x', 'y', 'z'].map((name) => createWorkflow(server, ['task', 'one', [name]]));
    assert.deepEqual(
      (await client.stream(one)).map((context) => context.workflowId),
      ids,
    );
  });

  it('cannot be listed when there is none', async (test) => {
    const { client } = await start(test);
    await assert.rejects(client.list(one), fails(status.INTERNAL, /Marshal called with nil/));
    assert.deepEqual(await client.stream(one), []);
  });

  it('need a worker id that is a UUID', async (test) => {
    const { client } = await start(test);
    for (const read of [client.stream, client.list]) {
      await assert.rejects(read(''), fails(status.INVALID_ARGUMENT, /^invalid worker id$/));
      await assert.rejects(read(MACHINE_ONE.mac), fails(status.ABORTED, /invalid input syntax for type uuid/));
    }
  });
});

describe('actions', () => {
  it('are an empty list for a workflow that does not exist', async (test) => {
    const { server, client } = await start(test);
    const workflowId = createWorkflow(server, ['task', 'one', ['a']]);
    server.deleteWorkflow(workflowId);
    for (const id of [workflowId, crypto.randomUUID(), 'no uuid']) assert.deepEqual(await client.actions(id), []);
    await assert.rejects(client.actions(''), fails(status.INVALID_ARGUMENT, /^invalid workflow id$/));
  });

  it("have the hardware's id in place of its MAC or address", async (test) => {
    const { server, client } = await start(test);
    const workflowId = createWorkflow(server, ['task', 'one', ['a']], ['other', 'two', ['b']]);
    assert.deepEqual(
      (await client.actions(workflowId)).map(({ workerId }) => workerId),
      [one, two],
    );
  });
});

describe('a report', () => {
  it('of RUNNING means the next action, so that repeating it is refused', async (test) => {
    const { server, client } = await start(test);
    const workflowId = createWorkflow(server, ['task', 'one', ['a', 'b']]);
    await client.report(workflowId, 'a', RUNNING);
    const refused = fails(status.INVALID_ARGUMENT, /^reported action name does not match the current action details$/);
    await assert.rejects(client.report(workflowId, 'a', RUNNING), refused);
    assert.equal((await client.stream(one))[0]?.currentAction, 'a');
  });

  it('of RUNNING after the last action kills the server', async (test) => {
    const { server, client } = await start(test);
    const workflowId = createWorkflow(server, ['task', 'one', ['a']]);
    await client.report(workflowId, 'a', RUNNING);
    const [killing] = await Promise.allSettled([client.report(workflowId, 'a', RUNNING)]);
    assert.ok(killing.status === 'rejected' && fails(status.UNAVAILABLE, /./)(killing.reason));
    assert.match(await server.died, /index out of range \[1\] with length 1/);
    await assert.rejects(client.stream(one), fails(status.UNAVAILABLE, /./));
    await assert.rejects(fetch(server.certificateUrl));
  });

  it('on a workflow that does not exist is refused from v0.5 on', async (test) => {
    const { server, client } = await start(test, { dialect: 'v0.2' });
    const id = createWorkflow(server, ['task', 'one', ['a']]);
    server.deleteWorkflow(id);
    const refused = fails(status.ABORTED, new RegExp(`^Workflow with id ${id} does not exist$`));
    await assert.rejects(client.report(id, 'a', State.STATE_RUNNING), refused);
    assert.equal(server.panic, undefined);
  });

  it('on a workflow that does not exist kills the server, which then comes back with all it knew', async (test) => {
    const { server } = await start(test);
    const kept = createWorkflow(server, ['task', 'one', ['a']]);
    const deleted = createWorkflow(server, ['task', 'one', ['a']]);
    server.deleteWorkflow(deleted);
    const { authority } = server;
    for (const id of [deleted, crypto.randomUUID(), 'no uuid']) {
      await assert.rejects(connect(test, server).report(id, 'a', RUNNING), fails(status.UNAVAILABLE, /./));
      assert.match(await server.died, /index out of range \[0\]/);
      await server.start();
    }
    assert.equal(server.authority, authority);
    assert.deepEqual(
      (await connect(test, server).stream(one)).map(({ workflowId }) => workflowId),
      [kept],
    );
  });

  it('needs the names of the current task and action', async (test) => {
    const { server, client } = await start(test);
    const workflowId = createWorkflow(server, ['task', 'one', ['a', 'b']]);
    const invalid = (details: RegExp) => fails(status.INVALID_ARGUMENT, details);
    await assert.rejects(client.report('', 'a', RUNNING), invalid(/^invalid workflow id$/));
    await assert.rejects(client.report(workflowId, 'a', RUNNING, { taskName: '' }), invalid(/^invalid task name$/));
    await assert.rejects(client.report(workflowId, '', RUNNING), invalid(/^invalid action name$/));
    await assert.rejects(client.report(workflowId, 'b', RUNNING), invalid(/^reported action name does not match/));
    await assert.rejects(
      client.report(workflowId, 'a', RUNNING, { taskName: 'x' }),
      invalid(/^reported task name does not/),
    );
  });

  it('is not checked for its worker or for the order of states', async (test) => {
    const { server, client } = await start(test);
    const workflowId = createWorkflow(server, ['task', 'one', ['a', 'b']]);
    await client.report(workflowId, 'a', FAILED, { workerId: two });
    await client.report(workflowId, 'a', SUCCESS);
    await client.report(workflowId, 'a', SUCCESS);
    assert.deepEqual(
      server.events(workflowId).map((event) => event.status),
      ['ACTION_FAILED', 'ACTION_SUCCESS', 'ACTION_SUCCESS'],
    );
  });

  it('that the database refuses has changed the state anyway, without an event', async (test) => {
    const { server, client } = await start(test);
    const refused: [Partial<WorkflowActionStatus>, RegExp][] = [
      [{ message: 'x'.repeat(201) }, /too long for type character varying\(200\)/],
      [{ workerId: 'none' }, /invalid input syntax for type uuid: "none"/],
      [{ seconds: 2 ** 31 }, /out of range/],
    ];
    for (const [part, details] of refused) {
      const workflowId = createWorkflow(server, ['task', 'one', ['a']]);
      await assert.rejects(client.report(workflowId, 'a', RUNNING, part), fails(status.ABORTED, details));
      const contexts = await client.list(one);
      assert.equal(contexts.find((context) => context.workflowId === workflowId)?.currentActionState, RUNNING);
      assert.deepEqual(server.events(workflowId), []);
    }
  });

  it('may have 200 characters of any size', async (test) => {
    const { server, client } = await start(test);
    const workflowId = createWorkflow(server, ['task', 'one', ['a']]);
    await client.report(workflowId, 'a', RUNNING, { message: '😀'.repeat(200) });
    assert.equal(server.events(workflowId)[0]?.message, '😀'.repeat(200));
  });

  it('of more than 4 MiB is refused', async (test) => {
    const { server, client } = await start(test);
    const workflowId = createWorkflow(server, ['task', 'one', ['a']]);
    const message = 'x'.repeat(4 * 1024 ** 2);
    await assert.rejects(client.report(workflowId, 'a', RUNNING, { message }), fails(status.RESOURCE_EXHAUSTED, /./));
  });
});

describe('workflow data', () => {
  const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));

  it('has versions, of which the old lose their content, printed as the database prints JSON', async (test) => {
    const { server, client } = await start(test);
    const workflowId = createWorkflow(server, ['task', 'one', ['a']]);
    const read = async (version: number) => {
      const { data } = await client.call(rpc.getWorkflowData, { workflowId, version });
      return Buffer.from(data).toString();
    };
    assert.equal(await read(0), '');
    for (const n of [1, 2, 3, 4]) {
      await client.call(rpc.updateWorkflowData, {
        workflowId,
        metadata: bytes({ n }),
        data: bytes({ long: [n], a: { b: 'c' } }),
      });
    }
    assert.equal(await read(0), '{"a": {"b": "c"}, "long": [4]}');
    assert.equal(await read(1), '');
    assert.equal(await read(2), '{"a": {"b": "c"}, "long": [2]}');
    const { version } = await client.call(rpc.getWorkflowDataVersion, { workflowId, version: 0 });
    assert.equal(version, 4);
    const metadata = await client.call(rpc.getWorkflowMetadata, { workflowId, version: 3 });
    assert.equal(Buffer.from(metadata.data).toString(), '{"n": 3}');
  });

  it('must be JSON', async (test) => {
    const { server, client } = await start(test);
    const request = {
      workflowId: createWorkflow(server, ['task', 'one', ['a']]),
      metadata: bytes({}),
      data: Buffer.from('{'),
    };
    await assert.rejects(client.call(rpc.updateWorkflowData, request), fails(status.ABORTED, /type json/));
  });
});

describe('the dialects', () => {
  it('v0.2 has other names and numbers', async (test) => {
    const { server, client } = await start(test, { dialect: 'v0.2' });
    const workflowId = createWorkflow(server, ['task', 'one', ['a']]);
    await client.report(workflowId, 'a', State.STATE_RUNNING);
    await client.report(workflowId, 'a', State.STATE_FAILED);
    assert.deepEqual(
      server.events(workflowId).map((event) => event.status),
      ['STATE_RUNNING', 'STATE_FAILED'],
    );
    const call = client.channel.collect(SERVICES['v0.1'], rpc.getWorkflowContexts, { workerId: one }, never);
    await assert.rejects(call, fails(status.UNIMPLEMENTED, /./));
  });

  it('v0.9 shows the first action that did not succeed, and only to its worker', async (test) => {
    const { server, client } = await start(test, { dialect: 'v0.9' });
    const workflowId = createWorkflow(server, ['task', 'one', ['a', 'b']], ['other', 'two', ['c']]);
    assert.match(workflowId, /^tink-system\//);
    const where = async (worker: string) =>
      (await client.stream(worker)).map((context) => [context.currentAction, context.currentActionState]);
    assert.deepEqual(await where(MACHINE_ONE.mac), [['a', State.STATE_PENDING]]);
    await client.report(workflowId, 'a', State.STATE_RUNNING);
    await client.report(workflowId, 'a', State.STATE_RUNNING, { message: 'forgotten' });
    await client.report(workflowId, 'a', State.STATE_SUCCESS);
    assert.deepEqual(await where(MACHINE_ONE.mac), [['b', State.STATE_PENDING]]);
    await assert.rejects(
      client.report(workflowId, 'a', State.STATE_SUCCESS),
      fails(status.INVALID_ARGUMENT, /does not match/),
    );
    await client.report(workflowId, 'b', State.STATE_SUCCESS);
    assert.deepEqual(await where(MACHINE_ONE.mac), []);
    assert.deepEqual(await where(MACHINE_TWO.address), [['c', State.STATE_PENDING]]);
    await client.report(workflowId, 'c', State.STATE_SUCCESS, { taskName: 'other' });
    assert.deepEqual(await where(MACHINE_TWO.address), []);
    await assert.rejects(client.list(one), fails(status.UNIMPLEMENTED, /./));
    await assert.rejects(client.actions('tink-system/none'), fails(status.UNKNOWN, /not found/));
    assert.ok(server.events(workflowId).every(({ message }) => message === ''));
  });
});

describe('a provisioner', () => {
  it('can do all over gRPC', async (test) => {
    const { server, client } = await start(test);
    const { channel } = client;
    const id = crypto.randomUUID();
    const hardware = { id, network: { interfaces: [{ dhcp: { mac: '08:00:27:00:00:09', ip: undefined } }] } };
    await channel.call(
      `${PROTOS}.hardware.HardwareService`,
      HardwareServiceDefinition.methods.push,
      { data: hardware },
      never,
    );
    const times = { createdAt: undefined, updatedAt: undefined, deletedAt: undefined };
    const template = { id: '', name: 'by-rpc', data: templateOf(['task', 'machine', ['a']]), ...times };
    const { createTemplate } = TemplateServiceDefinition.methods;
    const created = await channel.call(`${PROTOS}.template.Template`, createTemplate, template, never);
    const values = JSON.stringify({ machine: '08:00:27:00:00:09' });
    const workflow = await client.call(rpc.createWorkflow, { template: created.id, hardware: values });
    await client.report(workflow.id, 'a', RUNNING, { workerId: id, message: 'Started execution' });
    const events = await channel.collect(SERVICES['v0.1'], rpc.showWorkflowEvents, { id: workflow.id }, never);
    assert.deepEqual(
      events.map(({ message, actionStatus }) => [message, actionStatus]),
      [['Started execution', RUNNING]],
    );
    assert.ok(Math.abs(Number(events[0]?.createdAt) - Date.now()) < 10_000);
    assert.equal((await client.call(rpc.getWorkflow, { id: workflow.id })).state, State.STATE_PENDING);
    await client.call(rpc.deleteWorkflow, { id: workflow.id });
    assert.deepEqual(await client.actions(workflow.id), []);
    assert.deepEqual(server.workflowIds(), []);
  });

  it('without hardware for a worker fails', async (test) => {
    const { server } = await start(test);
    const template = server.createTemplate('example', templateOf(['task', 'one', ['a']]));
    assert.throws(() => server.createWorkflow(template, { one: '08:00:27:00:00:77' }), /no hardware has the address/);
    assert.throws(() => server.createWorkflow(template, {}), /invalid worker address: <no value>/);
    assert.throws(() => server.createWorkflow(crypto.randomUUID(), {}), /template .* does not exist/);
  });

  it('reads certificate, health and events over HTTP', async (test) => {
    const { server, client } = await start(test);
    const certificate = await fetch(server.certificateUrl);
    assert.equal(certificate.headers.get('content-type'), 'application/x-x509-ca-cert');
    assert.ok(certificate.headers.has('last-modified'));
    const bundle = await certificate.text();
    assert.equal(bundle.match(/BEGIN CERTIFICATE/g)?.length, 2);
    const part = await fetch(server.certificateUrl, { headers: { range: 'bytes=5-15' } });
    assert.deepEqual([part.status, await part.text()], [206, bundle.slice(5, 16)]);
    assert.equal((await fetch(`${server.httpUrl}/healthz`)).status, 200);
    assert.equal((await fetch(`${server.httpUrl}/version`)).status, 200);
    assert.equal((await fetch(`${server.httpUrl}/events/none`)).status, 404);
    const workflowId = createWorkflow(server, ['task', 'one', ['a']]);
    await client.report(workflowId, 'a', RUNNING);
    const body = await (await fetch(`${server.httpUrl}/events/${workflowId}`)).json();
    assert.partialDeepStrictEqual(body, {
      workflowId,
      state: 'RUNNING',
      events: [{ actionName: 'a', status: 'ACTION_IN_PROGRESS' }],
    });
  });

  it('can wait for events', async (test) => {
    const { server, client } = await start(test);
    const workflowId = createWorkflow(server, ['task', 'one', ['a']]);
    const waiting = server.waitFor(workflowId, (events) => events.some(({ progress }) => progress === 'SUCCESS'));
    await client.report(workflowId, 'a', RUNNING);
    await client.report(workflowId, 'a', SUCCESS);
    assert.equal((await waiting).length, 2);
    await assert.rejects(
      server.waitFor(workflowId, () => false, 0.05),
      /without result; workflow .* has: a ACTION_IN_PROGRESS, a ACTION_SUCCESS/,
    );
  });
});

describe('main.ts', () => {
  it('prints the workflow, keeps its records, dies as the original and comes back', async (test) => {
    const directory = await mkdtemp(path.join(tmpdir(), 'tink-server-'));
    test.after(() => rm(directory, { recursive: true }));
    const inDirectory = (name: string) => path.join(directory, name);
    await writeFile(inDirectory('hardware.json'), JSON.stringify(hardwareJson(MACHINE_ONE)));
    await writeFile(inDirectory('example.yaml'), templateOf(['task', 'one', ['a']]));
    const options = [
      ...[
        '--grpc-port',
        '0',
        '--http-port',
        '0',
        '--certs',
        inDirectory('certs'),
        '--state',
        inDirectory('state.json'),
      ],
      ...['--hardware', inDirectory('hardware.json'), '--template', inDirectory('example.yaml')],
      ...['--values', JSON.stringify({ one: MACHINE_ONE.mac })],
    ];
    const run = async () => {
      const program = execa(process.execPath, [path.join(import.meta.dirname, 'main.ts'), ...options], {
        reject: false,
      });
      test.after(() => program.kill());
      const lines = createInterface({ input: program.stdout })[Symbol.asyncIterator]();
      const { value: listening } = await lines.next();
      const [, authority, httpUrl] =
        /^listening on (\S+) \(gRPC\) and (\S+)$/.exec(String(listening)) ?? assert.fail(String(listening));
      const { value: workflow } = await lines.next();
      const channel = new Channel({
        authority: authority ?? '',
        certificateUrl: `${httpUrl}/cert`,
        rpcTimeoutSeconds: 5,
      });
      test.after(() => channel[Symbol.asyncDispose]());
      return { program, lines, channel, workflowId: String(workflow).replace(/^workflow /, ''), httpUrl };
    };
    const report = (workflowId: string): WorkflowActionStatus => ({
      ...{ workflowId, taskName: 'task', actionName: 'a', actionStatus: RUNNING, workerId: one },
      ...{ seconds: 0, message: 'Started execution', createdAt: undefined },
    });

    const first = await run();
    await first.channel.call(SERVICES['v0.1'], rpc.reportActionStatus, report(first.workflowId), never);
    assert.match(
      String((await first.lines.next()).value),
      new RegExp(`${first.workflowId} ${one} task a ACTION_IN_PROGRESS 0s Started`),
    );
    const certificate = await (await fetch(`${first.httpUrl}/cert`)).text();
    const deadly = first.channel.call(SERVICES['v0.1'], rpc.reportActionStatus, report(first.workflowId), never);
    await assert.rejects(deadly, fails(status.UNAVAILABLE, /./));
    const { exitCode, stderr } = await first.program;
    assert.equal(exitCode, 2);
    assert.match(stderr, /^panic: runtime error: index out of range/);

    const second = await run();
    assert.equal(second.workflowId, first.workflowId);
    assert.equal(await (await fetch(`${second.httpUrl}/cert`)).text(), certificate);
    const contexts = await second.channel.collect(SERVICES['v0.1'], rpc.getWorkflowContexts, { workerId: one }, never);
    assert.equal(contexts[0]?.currentActionState, RUNNING);
    second.program.kill('SIGTERM');
    assert.equal((await second.program).exitCode, 0);
  });
});
