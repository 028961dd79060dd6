import type { Event } from '../../action/action.ts';
import type { ActionProgress } from './dialect.ts';

/** State of a workflow on the server. */
export interface WorkflowProgress {
  readonly workflowId: string;
  /**
   * Of the action that was reported last, or that is next (v0.7 and later on Kubernetes), counted
   * over all tasks.
   */
  readonly index: number;
  /** Empty: nothing was reported yet. */
  readonly actionName: string;
  /** `undefined`: a state that the dialect does not have. */
  readonly progress: ActionProgress | undefined;
  readonly totalActions: number;
}

/** Next step of a workflow: the action at `index`, or nothing. */
export type Upcoming =
  | { readonly kind: 'action'; readonly index: number; readonly started: boolean }
  | { readonly kind: 'over'; readonly reason: string };

export function upcoming(position: WorkflowProgress): Upcoming {
  const { workflowId, actionName, index, progress, totalActions } = position;
  if (progress === undefined) return { kind: 'over', reason: `workflow ${workflowId} is in an unknown state` };
  if (progress === 'FAILED' || progress === 'TIMEOUT') {
    return { kind: 'over', reason: `workflow ${workflowId} ended: action ${actionName} is ${progress}` };
  }
  if (actionName === '') return { kind: 'action', index: 0, started: false };
  if (progress !== 'SUCCESS') return { kind: 'action', index, started: progress === 'RUNNING' };
  if (index + 1 >= totalActions) return { kind: 'over', reason: `workflow ${workflowId} succeeded` };
  return { kind: 'action', index: index + 1, started: false };
}

/** Relation of an action to the progress of its workflow on the server. */
export type ActionRelation =
  /** The server waits for its start. */
  | 'next'
  | 'running'
  /** It is the current action and ended so. */
  | 'SUCCESS'
  | 'FAILED'
  | 'TIMEOUT'
  /** A later action is current. */
  | 'passed'
  /** Actions before it are not done. */
  | 'ahead'
  /** An action before it ended the workflow. */
  | 'over'
  /** The workflow does not exist any more. */
  | 'gone'
  /** The workflow has no such action. */
  | 'absent'
  /**
   * It is the current action, and the server does not show its state: it only shows living
   * workflows, to the worker whose turn it is. So the action has not succeeded, and will not run.
   */
  | 'hidden';

/** @param index of the action in its workflow. */
export function relationOf(position: WorkflowProgress, index: number): ActionRelation {
  if (position.actionName !== '' && position.index > index) return 'passed';
  if (position.actionName !== '' && position.index === index) {
    const { progress } = position;
    if (progress === 'SUCCESS' || progress === 'FAILED' || progress === 'TIMEOUT') return progress;
  }
  const next = upcoming(position);
  if (next.kind === 'over') return 'over';
  if (next.index !== index) return 'ahead';
  return next.started ? 'running' : 'next';
}

/**
 * {@link relationOf} in a workflow that the server does not show.
 *
 * @param current index of the first action that did not succeed.
 * @param index of the action.
 */
export function relationWhenHidden(current: number, index: number): ActionRelation {
  if (current > index) return 'passed';
  return current === index ? 'hidden' : 'ahead';
}

/** What to do with an event. */
export type Step =
  /** The server already has it. */
  | { readonly kind: 'known' }
  | { readonly kind: 'obsolete'; readonly reason: string }
  /** Report it. */
  | { readonly kind: 'send' }
  /** Report the start that the server missed, and then it. */
  | { readonly kind: 'send with start' };

/**
 * Decides whether an event is still to be reported.
 *
 * Sending blindly is not possible: servers take a second RUNNING for the start of the next action,
 * and die of it when there is none (tink v0.1.0 to v0.6.0).
 *
 * @param sentBefore this event was sent already, and whether it arrived is unknown.
 */
export function step(event: Event, where: ActionRelation, sentBefore: boolean): Step {
  const succeeded = event.kind === 'ended' && event.outcome.verdict === 'SUCCESS';
  if (where === 'hidden' && sentBefore && !succeeded) return { kind: 'known' };
  if (event.kind === 'started') {
    if (where === 'next') return { kind: 'send' };
    if (where === 'running') return { kind: 'known' };
    return { kind: 'obsolete', reason: describe(where) };
  }
  const { verdict } = event.outcome;
  if (where === 'running') return { kind: 'send' };
  if (where === 'next') return { kind: 'send with start' };
  if (where === verdict || (where === 'passed' && verdict === 'SUCCESS')) return { kind: 'known' };
  return { kind: 'obsolete', reason: describe(where) };
}

/** Why the action does not run, or why its result is not recorded. */
export function describe(where: Exclude<ActionRelation, 'next' | 'running'>): string {
  return reasons[where];
}

/**
 * Whether a running action is cancelled. A server at another place of the workflow is only out of
 * step.
 */
export function isLost(where: ActionRelation): where is 'FAILED' | 'TIMEOUT' | 'over' | 'gone' | 'absent' | 'hidden' {
  return ['FAILED', 'TIMEOUT', 'over', 'gone', 'absent', 'hidden'].includes(where);
}

const reasons: Readonly<Record<Exclude<ActionRelation, 'next' | 'running'>, string>> = {
  SUCCESS: 'the server has recorded its success',
  FAILED: 'the server has recorded its failure',
  TIMEOUT: 'the server has recorded that it timed out',
  passed: 'the server is at a later action of the workflow',
  ahead: 'the server is at an earlier action of the workflow',
  over: 'the workflow has ended',
  gone: 'the workflow does not exist any more',
  absent: 'the workflow has no such action any more',
  hidden: 'the workflow has ended, or is no longer for this worker',
};
