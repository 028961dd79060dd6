import type { Readable } from 'node:stream';
import type { ContainerCreateOptions, ContainerInfo, ContainerInspectInfo } from 'dockerode';
import type { EngineAuthentication } from './credentials.ts';
import type { PullFailureReason } from './pull-failure.ts';

/** What an engine tells of a container in a list. */
export type ContainerSummary = Pick<ContainerInfo, 'Id' | 'Names' | 'Image' | 'Labels' | 'State'>;

export type ContainerState = Pick<
  ContainerInspectInfo['State'],
  'Running' | 'ExitCode' | 'OOMKilled' | 'Error' | 'StartedAt' | 'FinishedAt'
>;

/** What an engine tells of one container. `StartedAt` is in the year 1 if it never was. */
export interface ContainerDetails {
  readonly Id: string;
  readonly Config: { readonly Labels: Readonly<Record<string, string>> };
  readonly State: ContainerState;
}

/** What to do about a registry that the engine does not trust, in words of this engine. */
export interface TrustAdvice {
  /** Its certificate is by an unknown authority. */
  certificate(host: string): string;
  /** It speaks plain HTTP. */
  plainHttp(host: string): string;
}

/** What to be told of a container; times in seconds of the engine's clock, since 1970. */
export interface EventQuestion {
  readonly container: string;
  readonly event: 'die' | 'oom';
  /** Default: now. */
  readonly sinceSeconds?: number | undefined;
  /** Default: for ever. */
  readonly untilSeconds?: number | undefined;
}

/**
 * Port to a container engine, in the words of the Docker Engine API, whichever API it speaks. Each method asks once.
 *
 * An engine that answers with an error has it thrown with a `statusCode` as Docker's (404: there is no such thing; 409: the name is taken; 304: it has ended).
 */
export interface EngineApi {
  /** Why an error that was thrown means that nobody is there, and that the request is to be made again; `undefined`: it means something else. */
  whyAway(error: unknown): string | undefined;
  /** Whether it answers at all. */
  ping(signal: AbortSignal): Promise<unknown>;
  /** Those that have all the labels, running or not. A label is `name=value`, or `name` with any value. */
  listContainers(labels: readonly string[], signal: AbortSignal): Promise<readonly ContainerSummary[]>;
  /** @returns its id */
  createContainer(settings: ContainerCreateOptions, signal: AbortSignal): Promise<string>;
  /** @param id or name */
  inspectContainer(id: string, signal: AbortSignal): Promise<ContainerDetails>;
  startContainer(id: string, signal: AbortSignal): Promise<void>;
  /** What it prints from now on, in Docker's multiplexed format. Asked before the start, this is all of it. */
  attach(id: string, signal: AbortSignal): Promise<Readable>;
  /**
   * What it printed, as far as the engine keeps that, and prints from now on. Same format.
   * @param sinceSeconds of the engine's clock, since 1970
   * @returns `undefined`: the engine sends the output somewhere from where it cannot be read back
   */
  followLog(id: string, sinceSeconds: number, signal: AbortSignal): Promise<Readable | undefined>;
  /** Where containers that ask for nothing else have their output sent, as Docker calls it. `undefined`: to nothing but {@link attach}. */
  logDriver(signal: AbortSignal): Promise<string | undefined>;
  /** @returns when it has ended, or when the engine says no more: whether it is known to have ended with 0 */
  waitForEnd(id: string, signal: AbortSignal): Promise<boolean>;
  /** Asks it to end, and after the time of grace ends it. */
  stopContainer(id: string, graceSeconds: number, signal: AbortSignal): Promise<void>;
  /** With its volumes; one that runs is ended. */
  removeContainer(id: string, signal: AbortSignal): Promise<void>;
  /** Lines of JSON, one an event. Absent: the end is known by {@link waitForEnd} at once, and lack of memory by {@link ContainerState}. */
  events?(question: EventQuestion, signal: AbortSignal): Promise<Readable>;
  hasImage(name: string, signal: AbortSignal): Promise<boolean>;
  /**
   * Lines of JSON that tell the progress (Docker Engine API, "Create an image"). The last one may have an `error`; an engine that knows the reason says it as
   * `errorDetail.reason`.
   */
  pullImage(name: string, authentication: EngineAuthentication | undefined, signal: AbortSignal): Promise<Readable>;
  /** Why a pull failed, where the engine has said so in words only. */
  pullFailure(message: string, statusCode: number | undefined): PullFailureReason;
  readonly trustAdvice: TrustAdvice;
  /** Whether it has a network for containers that ask for none: `default`. */
  hasBridge(signal: AbortSignal): Promise<boolean>;
}
