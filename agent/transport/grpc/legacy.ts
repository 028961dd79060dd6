import { status } from '@grpc/grpc-js';
import type { Clock } from '../../../clock/clock.ts';
import type { WorkflowAction } from '../../../proto/tink.pb.ts';
import { printable } from '../../../text/printable.ts';
import type { Action, Event } from '../../action/action.ts';
import { acceptAction } from '../accept-action.ts';
import { toMessage } from '../message.ts';
import type { Acknowledgement, CancelState, Next, Transport } from '../transport.ts';
import { type RpcChannel, RpcError } from './channel.ts';
import type { LegacyDialect } from './dialect.ts';
import { LegacyClient, type Overview, type Report } from './legacy-client.ts';
import {
  type ActionRelation,
  describe,
  isLost,
  relationOf,
  relationWhenHidden,
  step,
  upcoming,
  type WorkflowProgress,
} from './standing.ts';
import { WorkflowData, type WorkflowDataOptions } from './workflow-data.ts';

export interface LegacyTransportOptions {
  /** Stays the caller's to dispose of. */
  readonly channel: RpcChannel;
  /**
   * Who we are to the server: the UUID of the machine's hardware (up to v0.8 with PostgreSQL), or
   * what the template names as worker.
   */
  readonly workerId: string;
  readonly dialect: LegacyDialect;
  /**
   * Carries the file `data` of each workflow's directory to and from the server: fetched when the
   * server has acknowledged the start of an action, sent before the success of one is reported.
   * Default: the file is not carried.
   */
  readonly workflowData?: WorkflowDataOptions | undefined;
}

/**
 * A {@link Transport} to a tink server v0.1.0 to v0.12.2. Nothing is connected before the first
 * call.
 */
export function createLegacyTransport(options: LegacyTransportOptions): Transport {
  return new LegacyTransport(options);
}

type Settlement =
  | Acknowledgement
  | { readonly kind: 'unsent'; readonly reports: readonly Report[]; readonly answer: Acknowledgement };

/**
 * What the server shows: how far all workflows of this worker are, and the actions of one of them.
 */
interface View extends Overview {
  readonly actions: readonly WorkflowAction[];
}

/**
 * So long what the server showed counts as just seen. The start of an action is reported some
 * milliseconds after the question for it was answered.
 */
const freshSeconds = 0.25;

/** Of the reason why there is nothing to do: a server may have many workflows for other workers. */
const maxReasonCharacters = 4000;

class LegacyTransport implements Transport {
  readonly #client: LegacyClient;
  readonly #clock: Clock;
  readonly #workerId: string;
  readonly #data: WorkflowData | undefined;
  /** Events that were sent, with the answer lost. */
  readonly #unanswered = new Set<string>();
  /** Of the workflow that was worked on last. */
  #known: { readonly workflowId: string; readonly actions: readonly WorkflowAction[] } | undefined;
  /** What the last question for work showed, until it is used or too old. */
  #seen: { readonly view: View; readonly workflowId: string; readonly atSeconds: number } | undefined;

  constructor(options: LegacyTransportOptions) {
    this.#client = new LegacyClient(options.channel, options.workerId, options.dialect);
    this.#clock = options.channel.clock;
    this.#workerId = options.workerId;
    this.#data = options.workflowData && new WorkflowData(this.#client, options.workflowData);
  }

  async next(signal: AbortSignal): Promise<Next> {
    const reasons: string[] = [];
    const overview = await this.#client.overview(signal);
    for (const position of overview.positions) {
      const todo = upcoming(position);
      if (todo.kind === 'over') {
        reasons.push(todo.reason);
        continue;
      }
      const actions = await this.#readActions(position.workflowId, signal);
      const action = actions[todo.index];
      if (action?.workerId === this.#workerId) {
        this.#seen = {
          view: { ...overview, actions },
          workflowId: position.workflowId,
          atSeconds: this.#clock.monotonicSeconds(),
        };
        return {
          kind: 'action',
          action: toAction(position.workflowId, action, todo.index),
          alreadyStarted: todo.started,
        };
      }
      reasons.push(
        action
          ? `workflow ${position.workflowId} waits for worker ${action.workerId} to run ${action.name}`
          : `workflow ${position.workflowId} has no action to run`,
      );
    }
    const reason = printable(reasons.join('; '), maxReasonCharacters);
    return { kind: 'idle', reason: reason || `the server has no workflow for worker ${this.#workerId}` };
  }

  async report(event: Event, signal: AbortSignal): Promise<Acknowledgement> {
    const key = JSON.stringify([event.action.workflowId, event.action.id, event.kind]);
    const acknowledgement = await this.#deliver(key, event, signal);
    if (event.kind === 'started' && acknowledgement.kind === 'acknowledged')
      await this.#data?.fetch(event.action, signal);
    this.#unanswered.delete(key);
    return acknowledgement;
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #deliver(key: string, event: Event, signal: AbortSignal): Promise<Acknowledgement> {
    const before = await this.#settle(key, event, signal);
    if (before.kind !== 'unsent') return before;
    // Before the report, not after it as the Go worker does: the next worker then always finds the
    // data.
    if (event.kind === 'ended' && event.outcome.verdict === 'SUCCESS') await this.#data?.send(event.action, signal);
    try {
      for (const report of before.reports) await this.#client.report(report, signal);
      return before.answer;
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      // Either only the answer is lost, or the server refuses what it does not want any more: what
      // it shows now tells.
      if (!refusalCodes.has(error.code)) this.#unanswered.add(key);
      this.#known = undefined;
      const after = await this.#settle(key, event, signal).catch(() => {
        signal.throwIfAborted();
        throw error;
      });
      if (after.kind === 'unsent') throw error;
      return after;
    }
  }

  /**
   * How far all workflows are, and the actions of this one; that is needed just before a report:
   * servers up to v0.8 die of one on a workflow that was deleted. What the question for work has
   * just shown is used once.
   */
  async #look(workflowId: string, signal: AbortSignal): Promise<View> {
    const seen = this.#seen;
    this.#seen = undefined;
    if (seen?.workflowId === workflowId && this.#clock.monotonicSeconds() - seen.atSeconds < freshSeconds)
      return seen.view;
    const overview = await this.#client.overview(signal);
    const position = overview.positions.find((position) => position.workflowId === workflowId);
    const known = this.#known?.workflowId === workflowId ? this.#known.actions : undefined;
    if (position !== undefined && known !== undefined && agrees(position, known))
      return { ...overview, actions: known };
    const actions = await this.#readActions(workflowId, signal);
    // A workflow is only looked for where it is hidden if the server has no list of all, and that
    // is asked again.
    return position === undefined && !overview.complete
      ? { ...(await this.#client.overview(signal, 'anew')), actions }
      : { ...overview, actions };
  }

  async #readActions(workflowId: string, signal: AbortSignal): Promise<readonly WorkflowAction[]> {
    const actions = await this.#client.actions(workflowId, signal);
    this.#known = { workflowId, actions };
    return actions;
  }

  async checkCancelled({ workflowId, taskName, name }: Action, signal: AbortSignal): Promise<CancelState> {
    const { positions, actions } = await this.#look(workflowId, signal);
    const where = locate(positions, workflowId, actions, indexOf(actions, taskName, name));
    return isLost(where) ? { kind: 'cancelled', reason: describe(where) } : { kind: 'active' };
  }

  /**
   * Reads what the server knows of the event's workflow, and concludes what is still to be sent.
   */
  async #settle(key: string, event: Event, signal: AbortSignal): Promise<Settlement> {
    const { action } = event;
    const { positions, complete, actions } = await this.#look(action.workflowId, signal);
    const index = indexOf(actions, action.taskName, action.name);
    let where = locate(positions, action.workflowId, actions, index);
    // An agent that was killed before it knew of the acknowledgement has nothing but this to tell
    // the workflow's success from an end by timeout.
    if (where === 'hidden' && !complete) {
      where = relationWhenHidden(await this.#client.hiddenIndex(action.workflowId, actions, signal), index);
    }
    const todo = step(event, where, this.#unanswered.has(key));
    if (todo.kind === 'obsolete') {
      return { kind: 'obsolete', reason: `${action.name} of workflow ${action.workflowId}: ${todo.reason}` };
    }
    const succeeded = event.kind === 'ended' && event.outcome.verdict === 'SUCCESS';
    const answer: Acknowledgement = {
      kind: 'acknowledged',
      workflowDone: succeeded && index === actions.length - 1,
    };
    if (todo.kind === 'known') return answer;
    const reports = [toReport(event)];
    if (todo.kind === 'send with start') reports.unshift(startReport(action));
    return { kind: 'unsent', reports, answer };
  }
}

/** Statuses by which the server says that it did not take the report. */
const refusalCodes: ReadonlySet<status> = new Set([
  status.INVALID_ARGUMENT,
  status.FAILED_PRECONDITION,
  status.NOT_FOUND,
  status.UNIMPLEMENTED,
  status.RESOURCE_EXHAUSTED,
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
]);

/** `-1`: the workflow has no such action. */
function indexOf(actions: readonly WorkflowAction[], taskName: string, actionName: string): number {
  return actions.findIndex((action) => action.taskName === taskName && action.name === actionName);
}

/**
 * Whether the actions that are known of a workflow are still its own: they are fixed when it is
 * created, but servers on Kubernetes may have another one of the same name by now.
 */
function agrees({ index, actionName, totalActions }: WorkflowProgress, actions: readonly WorkflowAction[]): boolean {
  return totalActions === actions.length && (actionName === '' || actions[index]?.name === actionName);
}

function locate(
  positions: readonly WorkflowProgress[],
  workflowId: string,
  actions: readonly WorkflowAction[],
  index: number,
): ActionRelation {
  if (actions.length === 0) return 'gone';
  if (index < 0) return 'absent';
  const position = positions.find((position) => position.workflowId === workflowId);
  return position ? relationOf(position, index) : 'hidden';
}

function toAction(workflowId: string, action: WorkflowAction, index: number): Action {
  return acceptAction({
    workflowId,
    taskName: action.taskName,
    name: action.name,
    // The list of actions is fixed when the workflow is created; the names are for people who read
    // a journal.
    id: `${index}/${action.taskName}/${action.name}`,
    workerId: action.workerId,
    image: action.image,
    registryPrefix: 'always',
    sharesDirectory: true,
    command: action.command,
    environment: action.environment,
    volumes: action.volumes,
    timeoutSeconds: action.timeout > 0 ? action.timeout : undefined,
    pidMode: action.pid || undefined,
    networkMode: undefined,
    onTimeout: action.onTimeout,
    onFailure: action.onFailure,
  });
}

function toReport(event: Event): Report {
  if (event.kind === 'started') return startReport(event.action);
  const { verdict, message, startedAt, endedAt } = event.outcome;
  const seconds = Math.floor((endedAt.getTime() - startedAt.getTime()) / 1000);
  return {
    ...names(event.action),
    progress: verdict,
    // A clock that was set in between must not make the server refuse the report.
    seconds: Math.min(Math.max(seconds, 0), 2 ** 31 - 1),
    message: toMessage(message, maxMessageCharacters),
  };
}

function startReport(action: Action): Report {
  return { ...names(action), progress: 'RUNNING', seconds: 0, message: 'Started execution' };
}

function names({ workflowId, taskName, name, workerId }: Action) {
  return { workflowId, taskName, actionName: name, workerId };
}

const maxMessageCharacters = 200;
