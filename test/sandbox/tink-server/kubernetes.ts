/** How tink servers with Kubernetes (v0.7.0 to v0.12.2) behave towards a worker. */
import { status } from '@grpc/grpc-js';
import type { WorkflowActionStatus } from '../../../proto/tink.pb.ts';
import { RpcFailure } from './failure.ts';
import { mismatch, requireNames } from './postgres.ts';
import { findWorkflow, type Progress, type Records, type WorkflowRecord } from './records.ts';

/** Only living workflows whose current task is the worker's. The position is that of the first action that did not succeed. */
export function streamForWorker(records: Records, workerId: string): readonly WorkflowRecord[] {
  if (workerId === '') throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid workflow id');
  return records.workflows.filter(
    ({ deletedAt, current, actions }) =>
      deletedAt === undefined &&
      (current.progress === 'PENDING' || current.progress === 'RUNNING') &&
      actions[current.index]?.workerId === workerId,
  );
}

export function actionsOf(records: Records, workflowId: string): WorkflowRecord['actions'] {
  if (workflowId === '') throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid workflow id');
  return find(records, workflowId).actions;
}

/**
 * Takes a report on the current action; forgets its message and seconds. Repeating RUNNING changes nothing.
 *
 * @param oneTask whether nothing after the first task can be reported (v0.7.0 to v0.10.0): the action's index in the workflow is compared with its index in the task.
 */
export function takeReport(records: Records, report: WorkflowActionStatus, progress: Progress, oneTask: boolean): void {
  requireNames(report);
  const workflow = findWorkflow(records, report.workflowId);
  // Whatever else is wrong than the names has this text.
  const invalid = new RpcFailure(status.INVALID_ARGUMENT, 'invalid workflow id');
  if (!workflow) throw invalid;
  const { current, actions } = workflow;
  // When all have succeeded there is none.
  const action = current.progress === 'SUCCESS' ? undefined : actions[current.index];
  if (action?.taskName !== report.taskName) throw mismatch('task');
  if (action.name !== report.actionName) throw mismatch('action');
  if (progress === 'PENDING') throw invalid;
  if (oneTask && action.taskName !== actions[0]?.taskName) throw invalid;
  const next = actions[current.index + 1];
  workflow.current =
    progress === 'SUCCESS' && next
      ? { ...names(next), index: current.index + 1, progress: 'PENDING' }
      : { ...current, progress };
  workflow.updatedAt = new Date().toISOString();
  workflow.events.push({
    workflowId: workflow.id,
    workerId: report.workerId,
    taskName: report.taskName,
    actionName: report.actionName,
    progress,
    seconds: 0,
    message: '',
    createdAt: workflow.updatedAt,
  });
}

/** Where a new workflow stands: its first action is current from the beginning. */
export function names({ workerId, taskName, name }: WorkflowRecord['actions'][number]) {
  return { workerId, taskName, actionName: name };
}

function find(records: Records, workflowId: string): WorkflowRecord {
  const workflow = findWorkflow(records, workflowId);
  if (!workflow) throw new RpcFailure(status.UNKNOWN, `workflows.tinkerbell.org "${workflowId}" not found`);
  return workflow;
}
