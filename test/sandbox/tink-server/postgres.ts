/**
 * How tink servers with PostgreSQL (v0.1.0 to v0.8.0) behave towards a worker. Observed on the real
 * servers v0.1.0, v0.6.0 and v0.8.0, their faults included: an agent has to live with them.
 */
import { status } from '@grpc/grpc-js';
import type { WorkflowActionStatus } from '../../../proto/tink.pb.ts';
import { RpcFailure, ServerPanic } from './failure.ts';
import { printJsonb } from './jsonb.ts';
import { findWorkflow, type Progress, type Records, type WorkflowRecord } from './records.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const maxMessageCharacters = 200;
const MAX_DATA_VERSIONS = 3;

/** All workflows of a worker, in the order of their creation, finished ones included. */
export function listForWorker(records: Records, workerId: string): readonly WorkflowRecord[] {
  if (workerId === '') throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid worker id');
  checkUuid(workerId);
  return records.workflows.filter(
    ({ actions, deletedAt }) =>
      deletedAt === undefined && actions.some((action) => action.workerId === workerId.toLowerCase()),
  );
}

/**
 * The workflows that the stream of contexts shows.
 *
 * After a success it looks at the next action only when the first action was the one that
 * succeeded: a workflow whose second or later action was reported last, as SUCCESS, is hidden.
 */
export function streamForWorker(records: Records, workerId: string): readonly WorkflowRecord[] {
  return listForWorker(records, workerId).filter(({ actions, current }) => {
    if (current.progress === 'FAILED' || current.progress === 'TIMEOUT') return false;
    if (current.progress !== 'SUCCESS') return actions[current.index]?.workerId === workerId;
    return current.index === 0 && actions[1]?.workerId === workerId;
  });
}

export function actionsOf(records: Records, workflowId: string): WorkflowRecord['actions'] {
  if (workflowId === '') throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid workflow id');
  return findWorkflow(records, workflowId)?.actions ?? [];
}

/**
 * Takes a report: first the position, then the event, so that an event that the database refuses
 * leaves the position changed. RUNNING always means "the next action", unless nothing was reported
 * yet.
 * @param unknown what a report on a workflow that does not exist does. `panic`: v0.1.0 to v0.4.0.
 *   `refuse`: v0.5.0 to v0.8.0.
 */
export function takeReport(
  records: Records,
  report: WorkflowActionStatus,
  progress: Progress,
  unknown: 'panic' | 'refuse',
): void {
  requireNames(report);
  const workflow = findWorkflow(records, report.workflowId);
  if (!workflow && unknown === 'refuse') {
    throw new RpcFailure(status.ABORTED, `Workflow with id ${report.workflowId} does not exist`);
  }
  if (!workflow) throw new ServerPanic('runtime error: index out of range [0] with length 0');
  const { current, actions } = workflow;
  const index = progress === 'RUNNING' && current.actionName !== '' ? current.index + 1 : current.index;
  const action = actions[index];
  if (!action) throw new ServerPanic(`runtime error: index out of range [${index}] with length ${actions.length}`);
  if (action.taskName !== report.taskName) throw mismatch('task');
  if (action.name !== report.actionName) throw mismatch('action');
  workflow.current = {
    workerId: action.workerId,
    taskName: report.taskName,
    actionName: report.actionName,
    index,
    progress,
  };
  workflow.updatedAt = new Date().toISOString();
  checkUuid(report.workerId);
  if (Array.from(report.message).length > maxMessageCharacters) {
    throw new RpcFailure(status.ABORTED, 'pq: value too long for type character varying(200)');
  }
  if (Math.abs(report.seconds) >= 2 ** 31) throw new RpcFailure(status.ABORTED, 'pq: integer out of range');
  workflow.events.push({
    workflowId: workflow.id,
    workerId: report.workerId,
    taskName: report.taskName,
    actionName: report.actionName,
    progress,
    seconds: report.seconds,
    message: report.message,
    createdAt: new Date().toISOString(),
  });
}

/**
 * @param version 0: the latest.
 * @returns empty when there is none.
 */
export function readData(records: Records, workflowId: string, version: number): { data: string; metadata: string } {
  if (workflowId === '') throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid workflow id');
  const versions = findWorkflow(records, workflowId)?.data ?? [];
  return versions.at(version === 0 ? -1 : version - 1) ?? { data: '', metadata: '' };
}

export function latestDataVersion(records: Records, workflowId: string): number {
  return findWorkflow(records, workflowId)?.data.length ?? 0;
}

export function writeData(records: Records, workflowId: string, data: Uint8Array, metadata: Uint8Array): void {
  if (workflowId === '') throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid workflow id');
  const workflow = findWorkflow(records, workflowId);
  if (!workflow) {
    throw new RpcFailure(
      status.ABORTED,
      'pq: insert or update on table "workflow_data" violates foreign key constraint',
    );
  }
  workflow.data.push({ data: toJsonb(data), metadata: toJsonb(metadata) });
  const old = workflow.data.at(-1 - MAX_DATA_VERSIONS);
  if (old) old.data = '';
}

/** v0.1.0 and later refuse a report without these before they look at anything. */
export function requireNames(report: WorkflowActionStatus): void {
  if (report.workflowId === '') throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid workflow id');
  if (report.taskName === '') throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid task name');
  if (report.actionName === '') throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid action name');
}

export function mismatch(what: 'task' | 'action'): RpcFailure {
  const details = `reported ${what} name does not match the current action details`;
  return new RpcFailure(status.INVALID_ARGUMENT, details);
}

function checkUuid(id: string): void {
  if (!UUID.test(id)) throw new RpcFailure(status.ABORTED, `pq: invalid input syntax for type uuid: "${id}"`);
}

function toJsonb(bytes: Uint8Array): string {
  try {
    return printJsonb(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch {
    throw new RpcFailure(status.ABORTED, 'pq: invalid input syntax for type json');
  }
}
