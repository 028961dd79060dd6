/** How tink servers with Kubernetes (v0.7.0 to v0.12.2) behave towards a worker. */
import { status } from '@grpc/grpc-js';
import type { WorkflowActionStatus } from '../../../proto/tink.pb.ts';
import { RpcFailure } from './failure.ts';
import { mismatch, requireNames } from './postgres.ts';
import { findWorkflow, type Progress, type Records, type WorkflowRecord } from './records.ts';

/**
 * The copy of the store from which a server answers and checks reports. It follows the store, in
 * the originals by some milliseconds, here by a number of calls; a change that is based on an old
 * copy is refused by the store.
 */
export class Copy {
  readonly #calls: number;
  readonly #old = new WeakMap<WorkflowRecord, { readonly current: WorkflowRecord['current']; calls: number }>();

  /** @param calls so many are still answered from before a change. */
  constructor(calls: number) {
    this.#calls = calls;
  }

  /** How far the workflow is, as the server sees it in a call. */
  look(workflow: WorkflowRecord): WorkflowRecord['current'] {
    if (this.#calls === 0) return workflow.current;
    const old = this.#old.get(workflow);
    if (old === undefined || old.calls === 0) return workflow.current;
    old.calls -= 1;
    return old.current;
  }

  /** To be called before a change. */
  willChange(workflow: WorkflowRecord): void {
    if (this.#calls > 0) this.#old.set(workflow, { current: workflow.current, calls: this.#calls });
  }
}

/**
 * Only living workflows whose current task is the worker's. The position is that of the first
 * action that did not succeed.
 */
export function streamForWorker(records: Records, copy: Copy, workerId: string): readonly WorkflowRecord[] {
  if (workerId === '') throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid workflow id');
  const found: WorkflowRecord[] = [];
  for (const workflow of records.workflows) {
    const current = copy.look(workflow);
    const { deletedAt, actions } = workflow;
    if (deletedAt !== undefined || (current.progress !== 'PENDING' && current.progress !== 'RUNNING')) continue;
    if (actions[current.index]?.workerId === workerId) found.push({ ...workflow, current });
  }
  return found;
}

export function actionsOf(records: Records, workflowId: string): WorkflowRecord['actions'] {
  if (workflowId === '') throw new RpcFailure(status.INVALID_ARGUMENT, 'invalid workflow id');
  return find(records, workflowId).actions;
}

/**
 * Takes a report on the current action; forgets its message and seconds. Repeating RUNNING changes
 * nothing.
 *
 * @param oneTask whether nothing after the first task can be reported (v0.7.0 to v0.10.0): the
 *   action's index in the workflow is compared with its index in the task.
 */
export function takeReport(
  records: Records,
  copy: Copy,
  report: WorkflowActionStatus,
  progress: Progress,
  oneTask: boolean,
): void {
  requireNames(report);
  const workflow = findWorkflow(records, report.workflowId);
  // Whatever else is wrong than the names has this text.
  const invalid = new RpcFailure(status.INVALID_ARGUMENT, 'invalid workflow id');
  if (!workflow) throw invalid;
  const { actions } = workflow;
  const current = copy.look(workflow);
  // When all have succeeded there is none.
  const action = current.progress === 'SUCCESS' ? undefined : actions[current.index];
  if (action?.taskName !== report.taskName) throw mismatch('task');
  if (action.name !== report.actionName) throw mismatch('action');
  if (progress === 'PENDING') throw invalid;
  if (oneTask && action.taskName !== actions[0]?.taskName) throw invalid;
  if (current !== workflow.current) throw invalid;
  copy.willChange(workflow);
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
  const name = workflowId.slice(workflowId.indexOf('/') + 1);
  if (!workflow) throw new RpcFailure(status.UNKNOWN, `Workflow.tinkerbell.org "${name}" not found`);
  return workflow;
}
