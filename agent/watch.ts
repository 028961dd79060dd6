import type { Clock } from '../clock/clock.ts';
import { pollIntervalSeconds } from '../clock/poll-interval.ts';
import type { Action } from './action/action.ts';
import { type Log, logFields } from './log/log.ts';
import type { Transport } from './transport/transport.ts';

export interface WatchOptions {
  readonly transport: Pick<Transport, 'checkCancelled'>;
  readonly log: Log;
  readonly clock: Clock;
  /** Minimum interval between two checks, plus up to two thirds of jitter. */
  readonly pollSeconds: number;
  /** Ends the watch. */
  readonly signal: AbortSignal;
}

/**
 * The signal is aborted when the server has cancelled the action. Disposed of when the action has
 * ended.
 */
export type Watch = AsyncDisposable & { readonly signal: AbortSignal };

/**
 * Consecutive answers, half a poll interval apart, by which an action counts as cancelled, unless
 * an answer is final. An action stopped by mistake is worse than one stopped late, and a server
 * that has just started may not know its workflows yet.
 */
const requiredCancellations = 4;

/**
 * Checks at intervals whether the server has cancelled a running action. At a poll interval of
 * three seconds a cancelled action is stopped within ten seconds, or at the first final answer.
 */
export function watchCancellation(action: Action, options: WatchOptions): Watch {
  const { transport, log, pollSeconds, clock } = options;
  const [cancelled, over] = [new AbortController(), new AbortController()];
  const signal = AbortSignal.any([options.signal, over.signal]);
  const look = async () => {
    for (let cancellations = 0; ; ) {
      await clock.wait(cancellations > 0 ? pollSeconds / 2 : pollIntervalSeconds(clock, pollSeconds), signal);
      // A failure is logged when the result is reported; until then the action continues.
      const answer = await transport.checkCancelled(action, signal).catch(() => undefined);
      if (answer?.kind !== 'cancelled') {
        cancellations = 0;
        continue;
      }
      cancellations += 1;
      if (cancellations < requiredCancellations && answer.isFinal !== true) continue;
      log.warn(logFields(action), `the action is stopped: ${answer.reason}`);
      cancelled.abort(new Error(answer.reason));
      return;
    }
  };
  const looking = look().catch(() => undefined);
  return {
    signal: cancelled.signal,
    [Symbol.asyncDispose]: async () => {
      over.abort();
      // No check may be under way when the result is reported.
      await looking;
    },
  };
}
