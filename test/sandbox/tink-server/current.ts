/**
 * How Tinkerbell servers v0.17 and later behave towards an agent. Their workflows are resources of
 * Kubernetes with a status, which is kept here as it is there. Not reproduced: discovery and
 * enrolment of machines, boot modes (the state PREPARING), the controller's deadlines.
 */
import { randomBytes } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import {
  type ActionRequest,
  type ActionResponse,
  type ActionStatusRequest,
  ActionStatusRequest_StateType,
} from '../../../proto/agent.pb.ts';
import { RpcFailure } from './failure.ts';
import type { ActionRecord, Progress, Records, WorkflowRecord } from './records.ts';

type Status = NonNullable<WorkflowRecord['status']>;

/** The status of a new workflow. */
export function newStatus(actions: readonly ActionRecord[]): Status {
  const tasks = new Map(actions.map(({ taskName }) => [taskName, ulid()]));
  return {
    state: 'PENDING',
    current: undefined,
    actions: actions.map(({ taskName }) => ({
      id: ulid(),
      taskId: tasks.get(taskName) ?? '',
      state: 'PENDING',
      executionStart: null,
      executionStop: null,
      executionDuration: '',
      message: '',
    })),
  };
}

/**
 * Gives an agent the action it is to run, and remembers that.
 *
 * Of the agent's workflows only the first is looked at, even if it ended.
 *
 * @param servesAgain whether an action that was given, and did not end, is given again: v0.24 and
 *   later. Earlier servers leave the workflow stuck.
 */
export function giveAction(records: Records, request: ActionRequest, servesAgain: boolean): ActionResponse {
  const agentId = request.agentId ?? '';
  if (agentId === '') throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid Agent ID');
  const workflow = records.workflows.find(
    ({ deletedAt, actions }) => deletedAt === undefined && actions.some(({ workerId }) => workerId === agentId),
  );
  if (workflow?.status === undefined) throw new RpcFailure(status.NOT_FOUND, 'no Workflows found');
  if (workflow.status.state !== 'PENDING' && workflow.status.state !== 'RUNNING') {
    throw new RpcFailure(status.FAILED_PRECONDITION, 'Workflow not in pending or running state');
  }
  const index = choose(workflow, workflow.status, servesAgain);
  const [action, itsStatus] = [workflow.actions[index], workflow.status.actions[index]];
  if (action === undefined || itsStatus === undefined) throw new RpcFailure(status.NOT_FOUND, 'no Action found');
  if (action.workerId !== agentId) throw new RpcFailure(status.NOT_FOUND, 'Task not assigned to Agent');
  workflow.status.current = { actionId: itsStatus.id, state: itsStatus.state };
  workflow.updatedAt = new Date().toISOString();
  return {
    workflowId: workflow.id,
    taskId: itsStatus.taskId,
    agentId,
    actionId: itsStatus.id,
    name: action.name,
    image: action.image,
    timeout: action.timeout,
    command: action.command,
    volumes: action.volumes,
    environment: action.environment,
    pid: action.pid,
    namespaces: { network: action.network, pid: action.pid },
  };
}

function choose({ actions }: WorkflowRecord, { current, actions: all }: Status, servesAgain: boolean): number {
  if (all[0]?.state === 'PENDING' && current === undefined) return 0;
  // The first task whose last action did not succeed.
  const first = all.findIndex(({ taskId }) => all.findLast((other) => other.taskId === taskId)?.state !== 'SUCCESS');
  if (first < 0) throw new RpcFailure(status.NOT_FOUND, 'last Action in task');
  if (all[first]?.state === 'PENDING' && (servesAgain || current?.actionId !== all[first]?.id)) return first;
  if (current === undefined) throw new RpcFailure(status.FAILED_PRECONDITION, 'no current state available');
  const at = all.findIndex(({ id }) => id === current.actionId);
  if (servesAgain && (current.state === 'RUNNING' || current.state === 'PENDING')) return at;
  if (current.state !== 'SUCCESS') {
    throw new RpcFailure(status.FAILED_PRECONDITION, 'current Action not in success state');
  }
  if (actions[at + 1] === undefined) throw new RpcFailure(status.NOT_FOUND, 'last Action in task');
  return at + 1;
}

/**
 * Stores a report. Any state is taken at any time; there is no order to keep. What is listed as an
 * event is a change of state, so that a report that came twice is seen once: the original has no
 * list of events.
 */
export function takeReport(records: Records, report: ActionStatusRequest): void {
  if (!report.workflowId) throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid workflow id');
  if (!report.taskId) throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid task name');
  if (!report.actionId) throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid action name');
  const workflow = records.workflows.find(({ id, deletedAt }) => id === report.workflowId && deletedAt === undefined);
  if (workflow?.status === undefined) {
    const reason = `failed to get workflow ${report.workflowId}: Workflow.tinkerbell.org "${report.workflowId.split('/')[1]}" not found`;
    // The original puts two errors together, one of which has a status.
    throw new RpcFailure(
      status.INTERNAL,
      `error reading from backend\nrpc error: code = Internal desc = error getting workflow: ${reason}`,
    );
  }
  const index = workflow.status.actions.findIndex(({ id }) => id === report.actionId);
  const [action, itsStatus] = [workflow.actions[index], workflow.status.actions[index]];
  if (action === undefined || itsStatus === undefined || action.workerId !== report.agentId) {
    throw new RpcFailure(status.NOT_FOUND, 'action not found');
  }
  const state = stateOf(report.actionState);
  const changes = itsStatus.state !== state;
  itsStatus.state = state;
  itsStatus.executionStart = timeOf(report.executionStart);
  itsStatus.executionStop = timeOf(report.executionStop);
  itsStatus.executionDuration = report.executionDuration ?? '';
  itsStatus.message = report.message?.message ?? '';
  if (state !== 'SUCCESS') workflow.status.state = state;
  else if (index === workflow.actions.length - 1) workflow.status.state = 'POST';
  workflow.status.current = { actionId: itsStatus.id, state };
  workflow.updatedAt = new Date().toISOString();
  if (!changes) return;
  const [start, stop] = [report.executionStart?.getTime() ?? 0, report.executionStop?.getTime() ?? 0];
  workflow.events.push({
    workflowId: workflow.id,
    workerId: action.workerId,
    taskName: action.taskName,
    actionName: action.name,
    progress: state,
    seconds: stop > start ? Math.floor((stop - start) / 1000) : 0,
    message: itsStatus.message,
    createdAt: workflow.updatedAt,
  });
}

/**
 * @throws {Error} UNSPECIFIED, or no state at all: the original stores them and is stuck from then
 * on. No agent may send them.
 */
function stateOf(state: ActionStatusRequest['actionState']): Progress {
  const all: readonly Progress[] = ['PENDING', 'RUNNING', 'FAILED', 'TIMEOUT', 'SUCCESS'];
  const found = all.find((name) => ActionStatusRequest_StateType[name] === state);
  if (found === undefined) throw new RpcFailure(status.INVALID_ARGUMENT, `${state} would be stored as it is`);
  return found;
}

/** Go's zero time is stored as null; no time at all as the beginning of 1970. */
function timeOf(time: Date | undefined): string | null {
  if (time?.getTime() === new Date('0001-01-01T00:00:00Z').getTime()) return null;
  return (time ?? new Date(0)).toISOString();
}

/** Time and chance in Crockford's base 32 (github.com/ulid/spec). */
function ulid(): string {
  const number = (BigInt(Date.now()) << 80n) | BigInt(`0x${randomBytes(10).toString('hex')}`);
  const digits = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
  return Array.from({ length: 26 }, (_, place) => digits[Number((number >> BigInt(5 * (25 - place))) & 31n)]).join('');
}
