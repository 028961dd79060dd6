import { status } from '@grpc/grpc-js';
import type { Method } from '../../../net/grpc/method.ts';
import {
  type WorkflowAction,
  type WorkflowActionStatus,
  type WorkflowContext,
  WorkflowServiceDefinition,
} from '../../../proto/tink.pb.ts';
import type { Action } from '../../action/action.ts';
import { type RpcChannel, RpcError } from './channel.ts';
import { type ActionProgress, type LegacyDialect, type ProtocolProfile, profileOf, progressOf } from './dialect.ts';
import type { WorkflowProgress } from './standing.ts';

const rpc = WorkflowServiceDefinition.methods;

/** So long a server that has no list of all workflows is not asked for it again. */
const withoutListSeconds = 60;

/** What a worker reports of an action. */
export interface Report {
  readonly workflowId: string;
  readonly taskName: string;
  readonly actionName: string;
  readonly workerId: string;
  readonly progress: ActionProgress;
  /** Whole seconds, 0 to 2³¹ − 1. */
  readonly seconds: number;
  /** At most 200 characters in one line. */
  readonly message: string;
}

/** What the server tells of this worker's workflows. */
export interface Overview {
  /** In the order in which the server has them. */
  readonly positions: readonly WorkflowProgress[];
  /**
   * Whether all of them are there. Servers on Kubernetes keep back those that ended, and those that
   * wait for another worker.
   */
  readonly complete: boolean;
}

/**
 * The worker's calls to a tink server v0.1.0 to v0.12.2, in one set of words whichever dialect it
 * is.
 */
export class LegacyClient {
  readonly #channel: RpcChannel;
  readonly #workerId: string;
  readonly #profile: ProtocolProfile;
  /** When the server said last that it has no list of all workflows. */
  #withoutListAt = Number.NEGATIVE_INFINITY;

  constructor(channel: RpcChannel, workerId: string, dialect: LegacyDialect) {
    this.#channel = channel;
    this.#workerId = workerId;
    this.#profile = profileOf(dialect);
  }

  /**
   * How far each workflow of this worker is.
   *
   * The list has all, and the stream only some of them: servers up to v0.8 never send a workflow
   * whose last report is the success of its second or a later action, so a worker that restarts
   * there would wait without end. Servers that do not have the list (all on Kubernetes) do not have
   * that fault.
   *
   * @param list `anew`: asks for the list also of a server that said a moment ago that it has none.
   */
  async overview(signal: AbortSignal, list: 'as known' | 'anew' = 'as known'): Promise<Overview> {
    const request = { workerId: this.#workerId };
    const { service, dialect } = this.#profile;
    const hasNone = dialect === 'v0.9' || (list === 'as known' && this.#knowsOfNoList());
    const listed = hasNone
      ? undefined
      : await this.#call(rpc.getWorkflowContextList, request, signal).then(
          (answer) => answer.workflowContexts,
          withoutList,
        );
    if (!hasNone && listed === undefined) this.#withoutListAt = this.#channel.clock.monotonicSeconds();
    const contexts = listed ?? (await this.#channel.collect(service, rpc.getWorkflowContexts, request, signal));
    return {
      positions: contexts.map((context) => toWorkflowProgress(context, this.#profile)),
      complete: listed !== undefined,
    };
  }

  /** Not for long: another server may take the place of this one. */
  #knowsOfNoList(): boolean {
    return this.#channel.clock.monotonicSeconds() - this.#withoutListAt < withoutListSeconds;
  }

  /**
   * Finds out how far a server on Kubernetes is with a workflow that it does not show: the index of
   * the first action that did not succeed; with all done, the number of actions.
   *
   * Such a server compares the names in a report with those of that action before it looks at the
   * state, and PENDING is a state that it never takes: what it answers tells whether the action is
   * the one, and nothing is changed. (`ReportActionStatus` in tink's kubernetes_api_workflow.go,
   * v0.7.0 to v0.12.2.) Other servers would store it; those that list all workflows must not be
   * asked.
   */
  async hiddenIndex(workflowId: string, actions: readonly WorkflowAction[], signal: AbortSignal): Promise<number> {
    for (const [index, { taskName, name: actionName, workerId }] of actions.entries()) {
      const question = {
        workflowId,
        taskName,
        actionName,
        workerId,
        progress: 'PENDING',
        seconds: 0,
        message: '',
      } as const;
      const isAnother = await this.report(question, signal).then(() => false, refusesNames);
      if (!isAnother) return index;
    }
    return actions.length;
  }

  /** Empty: there is no such workflow. */
  async actions(workflowId: string, signal: AbortSignal): Promise<readonly WorkflowAction[]> {
    try {
      return (await this.#call(rpc.getWorkflowActions, { workflowId }, signal)).actionList;
    } catch (error) {
      // Servers on Kubernetes pass its error on, as text.
      if (hasCode(error, status.UNKNOWN) && /not found/i.test(error.details)) return [];
      throw error;
    }
  }

  async report(report: Report, signal: AbortSignal): Promise<void> {
    const { progress, ...rest } = report;
    const actionStatus = this.#profile.number[progress];
    const message: WorkflowActionStatus = { ...rest, actionStatus, createdAt: undefined };
    await this.#call(rpc.reportActionStatus, message, signal);
  }

  /** The latest data of a workflow; empty: none yet; `undefined`: the server has no such thing. */
  async readData(workflowId: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    try {
      return (await this.#call(rpc.getWorkflowData, { workflowId, version: 0 }, signal)).data;
    } catch (error) {
      if (isUnknownToServer(error)) return undefined;
      throw error;
    }
  }

  /**
   * @param data JSON.
   * @param sha256 of it, base64. Does nothing if the server has no such thing.
   */
  async writeData(action: Action, data: Uint8Array, sha256: string, signal: AbortSignal): Promise<void> {
    const { workflowId, workerId, name, taskName } = action;
    const updatedAt = this.#channel.clock.now().toISOString();
    const metadata =
      this.#profile.dialect === 'v0.1'
        ? { 'worker-id': workerId, 'action-name': name, 'task-name': taskName, 'updated-at': updatedAt, sha256 }
        : { workerID: workerId, actionName: name, taskName, updatedAt, sha256 };
    const request = { workflowId, metadata: Buffer.from(JSON.stringify(metadata)), data };
    await this.#call(rpc.updateWorkflowData, request, signal).catch((error) => {
      if (!isUnknownToServer(error)) throw error;
    });
  }

  async #call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    signal: AbortSignal,
  ): Promise<Response> {
    return await this.#channel.call(this.#profile.service, method, request, signal);
  }
}

/**
 * What it means that the list of contexts could not be read; `undefined`: the server has no such
 * list.
 */
function withoutList(error: unknown): readonly WorkflowContext[] | undefined {
  // The server has nothing to list and fails to encode that.
  if (hasCode(error, status.INTERNAL) && error.details.includes('Marshal called with nil')) return [];
  if (isUnknownToServer(error)) return undefined;
  throw error;
}

/** Whether a report was refused because it is not of the current action. */
function refusesNames(error: unknown): boolean {
  if (!hasCode(error, status.INVALID_ARGUMENT)) throw error;
  return /reported (task|action) name does not match/.test(error.details);
}

/** Servers on Kubernetes have no such method, or one that says `not implemented`. */
function isUnknownToServer(error: unknown): boolean {
  return hasCode(error, status.UNIMPLEMENTED) || hasCode(error, status.UNKNOWN);
}

function hasCode(error: unknown, code: status): error is RpcError {
  return error instanceof RpcError && error.code === code;
}

function toWorkflowProgress(context: WorkflowContext, profile: ProtocolProfile): WorkflowProgress {
  return {
    workflowId: context.workflowId,
    index: context.currentActionIndex,
    actionName: context.currentAction,
    progress: progressOf(profile, context.currentActionState),
    totalActions: context.totalNumberOfActions,
  };
}
