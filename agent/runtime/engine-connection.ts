import type { Clock } from '../../clock/clock.ts';
import { DeadlineError, type Limit } from '../../clock/deadline.ts';
import { retry } from '../../clock/retry.ts';
import { within } from '../../clock/within.ts';
import type { Engine } from './engine.ts';
import { EngineError } from './engine-error.ts';

/** An engine that may be starting, or become unavailable and available again. */
export interface EngineConnection {
  /** Clock of all waits for the engine. */
  readonly clock: Clock;
  /**
   * For requests that need not succeed: they fail when the engine is unavailable.
   */
  readonly engine: Engine;
  /** How many times the engine became unavailable after it had answered. */
  readonly outages: () => number;
  /**
   * Makes a request. While the engine is unavailable, waits for it and makes the request again,
   * which must therefore be harmless.
   * @param limitSeconds When the response does not begin within this time, the engine counts as
   * unavailable. Default: 120.
   * @throws {EngineError} of any other reason than `unavailable`; {PullError}; the reason of the
   * signal
   */
  call<Result>(
    request: (engine: Engine, signal: AbortSignal) => Promise<Result>,
    signal: AbortSignal,
    limitSeconds?: number,
  ): Promise<Result>;
}

/** Whether the engine answers. */
type Presence =
  /** No request was made yet. */
  | 'untried'
  /** It has not answered since the agent started: it may be starting. */
  | 'awaited'
  | 'available'
  /** It answered before, and does not now. */
  | 'lost';

const responseTimeoutSeconds = 120;

/** Called once per change. */
export type OnReachable = (reachable: boolean, message: string) => void;

/**
 * Makes requests to an engine that may be unavailable. Nothing is sent yet.
 * @param host Where it is, for messages.
 */
export function connectEngine(engine: Engine, host: string, clock: Clock, onReachable: OnReachable): EngineConnection {
  let presence: Presence = 'untried';
  let outages = 0;

  const isUnavailable = () => presence === 'awaited' || presence === 'lost';

  function onResponse(): void {
    if (isUnavailable()) onReachable(true, `the container engine at ${host} answers again`);
    presence = 'available';
  }

  /** Only the first reason is reported: while an engine starts, several follow each other. */
  function onUnavailable(reason: string): void {
    if (isUnavailable()) return;
    if (presence === 'available') outages += 1;
    presence = presence === 'available' ? 'lost' : 'awaited';
    onReachable(false, `cannot reach the container engine at ${host}: ${reason}; trying again`);
  }

  /** The request itself may be answered only when a container exits. */
  async function recover(signal: AbortSignal): Promise<void> {
    await within(clock, responseWithin(responseTimeoutSeconds), signal, (limited) => engine.ping(limited));
    onResponse();
  }

  async function call<Result>(
    request: (engine: Engine, signal: AbortSignal) => Promise<Result>,
    signal: AbortSignal,
    limitSeconds = responseTimeoutSeconds,
  ): Promise<Result> {
    const attempt = async () => {
      if (isUnavailable()) await recover(signal);
      // A client may not notice that a connection breaks in the middle of a response (dockerode):
      // only the limit ends such a request.
      const result = await within(clock, responseWithin(limitSeconds), signal, (limited) => request(engine, limited));
      onResponse();
      return result;
    };
    const onFailure = (error: unknown) => {
      if (error instanceof DeadlineError) return onUnavailable(error.message);
      if (error instanceof EngineError && error.reason === 'unavailable') return onUnavailable(error.why);
      onResponse();
      throw error;
    };
    return await retry(attempt, { clock, signal, initialSeconds: 0.05, maxSeconds: 2, growth: 2, onFailure });
  }

  return { clock, engine, outages: () => outages, call };
}

function responseWithin(seconds: number): Limit {
  return { seconds, awaited: 'answer' };
}
