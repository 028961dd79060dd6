import { status } from '@grpc/grpc-js';
import {
  type ActionResponse,
  type ActionStatusRequest,
  ActionStatusRequest_StateType as StateType,
  type AgentAttributes as WireAttributes,
  WorkflowServiceDefinition,
} from '../../../proto/agent.pb.ts';
import type { Action, Event } from '../../action/action.ts';
import type { AgentAttributes } from '../../hardware/attributes.ts';
import { acceptAction } from '../accept-action.ts';
import { toMessage } from '../message.ts';
import { type Acknowledgement, type CancelState, type Next, type Transport, TransportError } from '../transport.ts';
import { type RpcChannel, RpcError } from './channel.ts';

export interface CurrentTransportOptions {
  /** Stays the caller's to dispose of. */
  readonly channel: RpcChannel;
  /** What the template names as worker, letter by letter. */
  readonly workerId: string;
  /** Tells what the machine consists of; called once. Default: the server is not told. */
  readonly attributes?: (() => Promise<AgentAttributes>) | undefined;
  /**
   * Deadline of each call, in seconds. The server itself tries each call for 60 seconds, v0.17 for
   * 5 minutes; a question given up before that can leave a workflow of a server before v0.24
   * without anybody who runs its next action. Default: 330.
   */
  readonly callTimeoutSeconds?: number | undefined;
  /**
   * An answer that took the server this long, in seconds, is its last word: it has looked again
   * every second. Default: 30.
   */
  readonly finalAfterSeconds?: number | undefined;
}

/**
 * A {@link Transport} to a Tinkerbell server v0.17 or later. Nothing is connected before the first
 * call.
 */
export function createCurrentTransport(options: CurrentTransportOptions): Transport {
  return new CurrentTransport(options);
}

const service = WorkflowServiceDefinition.fullName;
const rpc = WorkflowServiceDefinition.methods;

class CurrentTransport implements Transport {
  readonly #options: CurrentTransportOptions;
  #attributes: WireAttributes | undefined;

  constructor(options: CurrentTransportOptions) {
    this.#options = options;
  }

  /** Waits on the server's side for as long as that tries to find an action. */
  async next(signal: AbortSignal): Promise<Next> {
    const { channel, workerId, attributes, callTimeoutSeconds = 330 } = this.#options;
    if (attributes !== undefined) this.#attributes ??= toWireAttributes(await attributes());
    const request = { agentId: workerId, agentAttributes: this.#attributes };
    try {
      const response = await channel.call(service, rpc.getAction, request, signal, callTimeoutSeconds);
      // Only the server knows whether it was reported as started.
      return { kind: 'action', action: toAction(response, workerId), alreadyStarted: false, isUnique: true };
    } catch (error) {
      if (!(error instanceof RpcError) || !idleCodes.has(error.code)) throw error;
      return { kind: 'idle', reason: `the server says: ${error.details}`, mayContinue: !saysOver(error) };
    }
  }

  /** Any report may be sent any number of times: the server keeps the last one of each action. */
  async report(event: Event, signal: AbortSignal): Promise<Acknowledgement> {
    const { channel, callTimeoutSeconds = 330 } = this.#options;
    try {
      await channel.call(service, rpc.reportActionStatus, toReport(event), signal, callTimeoutSeconds);
    } catch (error) {
      if (!(error instanceof RpcError) || !isFinal(error)) throw error;
      const { name, workflowId } = event.action;
      return { kind: 'obsolete', reason: `${name} of workflow ${workflowId}: the server says: ${error.details}` };
    }
    const succeeded = event.kind === 'ended' && event.outcome.verdict === 'SUCCESS';
    return { kind: 'acknowledged', workflowDone: succeeded ? 'unknown' : false };
  }

  /**
   * A report on an action that cannot exist is refused and stores nothing, and the refusal tells
   * whether the workflow exists. The server says so after its own attempts, a minute's worth, and
   * what it found at the last of them. A workflow that it has ended by its deadline looks like one
   * that runs.
   */
  async checkCancelled({ workflowId, workerId, taskName }: Action, signal: AbortSignal): Promise<CancelState> {
    const { channel, callTimeoutSeconds = 330, finalAfterSeconds = 30 } = this.#options;
    const askedAt = channel.clock.monotonicSeconds();
    const whose = { workflowId, agentId: workerId, taskId: taskName, actionId: noAction, actionName: noAction };
    const times = { executionStart: noTime, executionStop: noTime, executionDuration: '' };
    const question = { ...whose, ...times, actionState: StateType.RUNNING, message: { message: '' } };
    try {
      await channel.call(service, rpc.reportActionStatus, question, signal, callTimeoutSeconds);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      const seconds = channel.clock.monotonicSeconds() - askedAt;
      if (saysGone(error))
        return {
          kind: 'cancelled',
          reason: `the server says: ${error.details}`,
          isFinal: seconds >= finalAfterSeconds,
        };
      if (!isFinal(error)) throw error;
    }
    return { kind: 'active' };
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** Not the name of an action: those of servers are ULIDs. */
const noAction = 'nibs-asks-whether-the-workflow-exists';

/** Nothing for this agent, or not now. */
const idleCodes: ReadonlySet<status> = new Set([status.NOT_FOUND, status.FAILED_PRECONDITION]);

/**
 * The steady state after a workflow has ended. All other words leave open that it goes on, here or
 * on another machine.
 */
function saysOver({ code, details }: RpcError): boolean {
  return code === status.FAILED_PRECONDITION && /not in pending or running state/i.test(details);
}

/** The server will never take this report. */
function isFinal({ code, details }: RpcError): boolean {
  if (code === status.NOT_FOUND || code === status.INVALID_ARGUMENT || code === status.FAILED_PRECONDITION) return true;
  return saysGone({ code, details });
}

/**
 * A workflow that was deleted: the server passes on what Kubernetes says, as a failure of its own.
 */
function saysGone({ code, details }: Pick<RpcError, 'code' | 'details'>): boolean {
  return code === status.INTERNAL && /error getting workflow: .*not found/i.test(details);
}

function toAction(response: ActionResponse, workerId: string): Action {
  const { workflowId, taskId, actionId, name, image } = response;
  if (!workflowId || !taskId || !actionId || !name || !image) {
    const given = JSON.stringify({ workflowId, taskId, actionId, name, image }).slice(0, 1000);
    const target = `the action ${given} of the server`;
    throw new TransportError({ what: 'run', target, why: 'it lacks an image, a name or an id' });
  }
  const { timeout = 0, namespaces } = response;
  return acceptAction({
    workflowId,
    // Tasks have no name here.
    taskName: taskId,
    name,
    id: actionId,
    workerId: response.agentId || workerId,
    image,
    registryPrefix: 'never',
    sharesDirectory: false,
    command: response.command,
    environment: response.environment,
    volumes: response.volumes,
    timeoutSeconds: timeout > 0 ? timeout : undefined,
    pidMode: namespaces?.pid || response.pid || undefined,
    networkMode: namespaces?.network || undefined,
    onTimeout: [],
    onFailure: [],
  });
}

/**
 * Servers store this time as none. One that is left out would be stored as 1970, and the workflow's
 * deadline counts from the first action's start.
 */
const noTime = new Date('0001-01-01T00:00:00Z');

/**
 * The server has no limit but the size of its store; the message is part of every copy of the
 * workflow.
 */
const maxMessageCharacters = 4000;

function toReport(event: Event): ActionStatusRequest {
  const { workflowId, workerId, taskName, id, name } = event.action;
  const whose = { workflowId, agentId: workerId, taskId: taskName, actionId: id, actionName: name };
  if (event.kind === 'started') {
    return {
      ...whose,
      actionState: StateType.RUNNING,
      executionStart: event.at,
      executionStop: noTime,
      executionDuration: '',
      message: { message: 'running action' },
    };
  }
  const { verdict, message, startedAt, endedAt } = event.outcome;
  return {
    ...whose,
    actionState: StateType[verdict],
    executionStart: startedAt,
    executionStop: endedAt,
    executionDuration: toDuration(endedAt.getTime() - startedAt.getTime()),
    message: { message: toMessage(message, maxMessageCharacters) },
  };
}

/**
 * The two largest units that are not zero, as the Go agent writes a duration: `1h2m`, `1m30s`,
 * `2s15ms`; `0s` for none.
 */
export function toDuration(milliseconds: number): string {
  let rest = Math.max(0, Math.round(milliseconds));
  const parts: string[] = [];
  for (const [unit, length] of [
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
    ['ms', 1],
  ] as const) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count > 0) parts.push(`${count}${unit}`);
  }
  return parts.slice(0, 2).join('') || '0s';
}

/** The same, with lists that the encoder takes. */
function toWireAttributes(attributes: AgentAttributes): WireAttributes {
  const { cpu, block, network, pci, gpu, ...rest } = attributes;
  return {
    ...rest,
    cpu: cpu && {
      ...cpu,
      processors: cpu.processors.map((processor) => ({ ...processor, capabilities: [...processor.capabilities] })),
    },
    block: [...block],
    network: network.map((card) => ({ ...card, enabledCapabilities: [...card.enabledCapabilities] })),
    pci: [...pci],
    gpu: [...gpu],
  };
}
