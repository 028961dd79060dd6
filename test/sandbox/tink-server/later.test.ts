/** The played servers after PostgreSQL, and a client that sends exactly the given messages. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { status } from '@grpc/grpc-js';
import { Channel, RpcError } from '../../../agent/transport/grpc/channel.ts';
import type { Method } from '../../../net/grpc/method.ts';
import {
  type ActionStatusRequest,
  WorkflowServiceDefinition as Agent,
  ActionStatusRequest_StateType as StateType,
} from '../../../proto/agent.pb.ts';
import { State, WorkflowServiceDefinition as Worker } from '../../../proto/tink.pb.ts';
import { type ExampleTask, MACHINE_ONE, MACHINE_TWO, templateOf } from './example.ts';
import { startTinkServer, type TinkServer, type TinkServerOptions } from './server.ts';

const never = new AbortController().signal;
const [one, two] = [MACHINE_ONE.mac, MACHINE_TWO.mac];

async function start(test: TestContext, service: string, options: TinkServerOptions) {
  const server = await startTinkServer({
    tls: false,
    retry: { intervalSeconds: 0.01, limitSeconds: 0.03 },
    ...options,
  });
  const channel = new Channel({ authority: server.authority, tls: 'plaintext', rpcTimeoutSeconds: 10 });
  test.after(async () => {
    await server.stop();
    await channel[Symbol.asyncDispose]();
  });
  const call = <Request, Response>(method: Method<Request, Response>, request: Request) =>
    channel.call(service, method, request, never);
  return { server, call };
}

function createWorkflow(server: TinkServer, ...tasks: ExampleTask[]): string {
  return server.createWorkflow(server.createTemplate('example', templateOf(...tasks)), { one, two });
}

function fails(code: status, details: string) {
  return (error: unknown) => error instanceof RpcError && error.code === code && error.details === details;
}

describe('a v0.7 server on Kubernetes', () => {
  const service = 'github.com.tinkerbell.tink.protos.workflow.WorkflowService';

  it('cannot do what it offers, but takes data and forgets it', async (test) => {
    const { server, call } = await start(test, service, { dialect: 'v0.7' });
    const workflowId = createWorkflow(server, ['task', 'one', ['first']]);
    assert.doesNotMatch(workflowId, /\//);
    const unable = fails(status.UNKNOWN, 'not implemented');
    await assert.rejects(call(Worker.methods.getWorkflowContextList, { workerId: one }), unable);
    await assert.rejects(call(Worker.methods.getWorkflow, { id: workflowId }), unable);
    const data = Buffer.from('{}');
    await call(Worker.methods.updateWorkflowData, { workflowId, metadata: data, data });
    assert.equal((await call(Worker.methods.getWorkflowData, { workflowId, version: 0 })).data.byteLength, 0);
  });

  it('takes no report on a second task', async (test) => {
    const { server, call } = await start(test, service, { dialect: 'v0.7' });
    const workflowId = createWorkflow(server, ['a', 'one', ['first']], ['b', 'one', ['second']]);
    const report = (taskName: string, actionName: string, actionStatus: number) => {
      const rest = { seconds: 0, message: '', createdAt: undefined, workerId: one };
      return call(Worker.methods.reportActionStatus, { workflowId, taskName, actionName, actionStatus, ...rest });
    };
    await report('a', 'first', State.STATE_RUNNING);
    await report('a', 'first', State.STATE_SUCCESS);
    const refused = fails(status.INVALID_ARGUMENT, 'invalid workflow id');
    await assert.rejects(report('b', 'second', State.STATE_RUNNING), refused);
  });

  it('takes no report of PENDING, and tells by that which action is current', async (test) => {
    const { server, call } = await start(test, service, { dialect: 'v0.7' });
    const workflowId = createWorkflow(server, ['a', 'one', ['first', 'last']]);
    const report = (actionName: string, actionStatus: number) => {
      const rest = { taskName: 'a', seconds: 0, message: '', createdAt: undefined, workerId: one };
      return call(Worker.methods.reportActionStatus, { workflowId, actionName, actionStatus, ...rest });
    };
    const refused = (details: string) => fails(status.INVALID_ARGUMENT, details);
    await assert.rejects(report('first', State.STATE_PENDING), refused('invalid workflow id'));
    const mismatch = (what: string) => refused(`reported ${what} name does not match the current action details`);
    await assert.rejects(report('last', State.STATE_PENDING), mismatch('action'));
    for (const name of ['first', 'last']) await report(name, State.STATE_SUCCESS);
    await assert.rejects(report('last', State.STATE_PENDING), mismatch('task'));
    assert.equal(server.events(workflowId).length, 2);
  });
});

describe('a current server', () => {
  async function startCurrent(test: TestContext, options: TinkServerOptions = {}) {
    const { server, call } = await start(test, 'proto.WorkflowService', { dialect: 'current', ...options });
    const ask = (agentId: string) => call(Agent.methods.getAction, { agentId, agentAttributes: undefined });
    const report = (request: ActionStatusRequest) => call(Agent.methods.reportActionStatus, request);
    return { server, ask, report };
  }

  it('has its words for each reason to give nothing', async (test) => {
    const { server, ask, report } = await startCurrent(test);
    await assert.rejects(ask(''), fails(status.INVALID_ARGUMENT, 'invalid Agent ID'));
    await assert.rejects(ask(one), fails(status.NOT_FOUND, 'no Workflows found'));
    createWorkflow(server, ['a', 'one', ['first']], ['b', 'two', ['second']]);
    await assert.rejects(ask(two), fails(status.NOT_FOUND, 'Task not assigned to Agent'));
    const { workflowId, taskId, actionId, agentId } = await ask(one);
    await report({ workflowId, taskId, actionId, agentId, actionState: StateType.TIMEOUT });
    const over = 'Workflow not in pending or running state';
    await assert.rejects(ask(one), fails(status.FAILED_PRECONDITION, over));
    // An old workflow hides a new one.
    createWorkflow(server, ['a', 'one', ['new']]);
    await assert.rejects(ask(one), fails(status.FAILED_PRECONDITION, over));
  });

  it('wants to know which action of which task of which workflow', async (test) => {
    const { server, ask, report } = await startCurrent(test);
    createWorkflow(server, ['a', 'one', ['first']]);
    const { workflowId, taskId, actionId, agentId } = await ask(one);
    const whole = { workflowId, taskId, actionId, agentId, actionState: StateType.RUNNING };
    const invalid = (details: string) => fails(status.INVALID_ARGUMENT, details);
    await assert.rejects(report({ ...whole, workflowId: undefined }), invalid('invalid workflow id'));
    await assert.rejects(report({ ...whole, taskId: undefined }), invalid('invalid task name'));
    await assert.rejects(report({ ...whole, actionId: undefined }), invalid('invalid action name'));
    await assert.rejects(report({ ...whole, agentId: two }), fails(status.NOT_FOUND, 'action not found'));
  });

  it('stores times that are left out as 1970, takes any state at any time, and ends in POST', async (test) => {
    const { server, ask, report } = await startCurrent(test);
    const id = createWorkflow(server, ['a', 'one', ['first']]);
    const { workflowId, taskId, actionId, agentId } = await ask(one);
    const whole = { workflowId, taskId, actionId, agentId };
    for (const state of ['FAILED', 'RUNNING', 'SUCCESS'] as const)
      await report({ ...whole, actionState: StateType[state] });
    const { state, actions } = server.status(id);
    assert.deepEqual([state, actions[0]?.executionStart], ['POST', '1970-01-01T00:00:00.000Z']);
  });

  it('repeats a call by itself for its time limit', async (test) => {
    const { server, ask } = await startCurrent(test, { retry: { intervalSeconds: 0.01, limitSeconds: 20 } });
    const asked = Promise.withResolvers<void>();
    using _ = server.subscribeToCalls(() => asked.resolve());
    const answer = ask(one);
    await asked.promise;
    createWorkflow(server, ['a', 'one', ['first']]);
    assert.equal((await answer).name, 'first');
  });
});
