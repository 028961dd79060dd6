import type { Clock } from '../../clock/clock.ts';
import { DeadlineError, type Limit } from '../../clock/deadline.ts';
import { retry } from '../../clock/retry.ts';
import { within } from '../../clock/within.ts';
import type { EngineApi } from './engine-api.ts';
import type { PullFailureReason } from './pull-failure.ts';

/** The engine answered a request with an error. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  /** HTTP status, `undefined` if the error came in the middle of an answer. */
  readonly statusCode: number | undefined;
  /** Of a pull that failed, if the engine says it in more than words. */
  readonly pullFailure: PullFailureReason | undefined;

  constructor(
    message: string,
    statusCode: number | undefined,
    options?: ErrorOptions & { readonly pullFailure?: PullFailureReason | undefined },
  ) {
    super(message, options);
    this.statusCode = statusCode;
    this.pullFailure = options?.pullFailure;
  }
}

/** An engine that may be starting, go away and come back. */
export interface Engine {
  /** By which all that is asked of the engine waits. */
  readonly clock: Clock;
  /** For questions whose answer is not worth waiting for: they fail when the engine is away. */
  readonly api: EngineApi;
  /** How many times the engine was found unreachable after it had answered. */
  readonly outages: () => number;
  /**
   * Makes a request; while the engine is unreachable, waits for it and makes the request again (which must therefore be harmless).
   * @param limitSeconds When the answer does not begin within this time, the engine counts as unreachable. Default: 120.
   * @throws {EngineError} if the engine answers with an error; the reason of the signal if that is aborted.
   */
  call<Result>(
    request: (api: EngineApi, signal: AbortSignal) => Promise<Result>,
    signal: AbortSignal,
    limitSeconds?: number,
  ): Promise<Result>;
}

/** An engine that does not begin to answer within this time is not there. */
const answerLimitSeconds = 120;

/** Told once per change. */
export type OnReachable = (reachable: boolean, message: string) => void;

/**
 * Makes requests to an engine that may not be there. Nothing is sent yet.
 * @param host Where it is, for messages.
 */
export function createEngine(api: EngineApi, host: string, clock: Clock, onReachable: OnReachable): Engine {
  let outages = 0;
  let everAnswered = false;
  let isAway = false;

  function answered(): void {
    everAnswered = true;
    if (isAway) onReachable(true, `the container engine at ${host} answers again`);
    isAway = false;
  }

  /** Only the first reason is told: while an engine starts, several follow each other. */
  function unreachable(reason: string): void {
    if (isAway) return;
    isAway = true;
    if (everAnswered) outages += 1;
    onReachable(false, `cannot reach the container engine at ${host}: ${reason}; trying again`);
  }

  /** The request itself may be answered only when a container ends. */
  async function recovered(signal: AbortSignal): Promise<void> {
    await within(clock, answerWithin(answerLimitSeconds), signal, (limited) => api.ping(limited));
    answered();
  }

  async function call<Result>(
    request: (api: EngineApi, signal: AbortSignal) => Promise<Result>,
    signal: AbortSignal,
    limitSeconds = answerLimitSeconds,
  ): Promise<Result> {
    const attempt = async () => {
      if (isAway) await recovered(signal);
      // A client may not notice that a connection breaks in the middle of an answer (dockerode): only the limit ends such a request.
      const result = await within(clock, answerWithin(limitSeconds), signal, (limited) => request(api, limited));
      answered();
      return result;
    };
    const onFailure = (error: unknown) => {
      const reason = error instanceof DeadlineError ? error.message : api.whyAway(error);
      if (reason !== undefined) return unreachable(reason);
      answered();
      throw asEngineError(error);
    };
    return await retry(attempt, { clock, signal, initialSeconds: 0.05, maximumSeconds: 2, growth: 2, onFailure });
  }

  return { clock, api, outages: () => outages, call };
}

function answerWithin(seconds: number): Limit {
  return { seconds, awaited: 'answer' };
}

function asEngineError(error: unknown): unknown {
  if (!(error instanceof Error) || !('statusCode' in error)) return error;
  return new EngineError(plainly(error.message), Number(error.statusCode), { cause: error });
}

/** What each layer between the engine and the kernel puts around a reason. */
const wrappings = [
  /^\(HTTP code \d+\) [^-]* - /,
  /^Error response from daemon: /,
  /^failed to create (?:shim task|shim|task for container): /,
  /^OCI runtime create failed: /,
  /^runc create failed: /,
  /^error during container init: /,
  /^container_linux\.go:\d+: starting container process caused: /,
  /^unable to start container process: /,
  /^(?:Get|Head|Post) "?https?:\/\/[^ ]*: (?=[a-z])/,
];

/** The reason inside an engine's error message. */
export function plainly(message: string): string {
  let rest = message.trim();
  for (let before = ''; before !== rest; ) {
    before = rest;
    for (const wrapping of wrappings) rest = rest.replace(wrapping, '');
  }
  return rest.replace(/: unknown$/, '').trim();
}
