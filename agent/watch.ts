import type { Clock } from '../clock/clock.ts';
import { pollIntervalSeconds } from '../clock/poll-interval.ts';
import type { Action } from './action/action.ts';
import { factsOf, type Log } from './log/log.ts';
import type { Transport } from './transport/transport.ts';

export interface WatchOptions {
  readonly transport: Pick<Transport, 'demand'>;
  readonly log: Log;
  readonly clock: Clock;
  /** Shortest wait between two looks while the action is wanted; up to two thirds more are added at random. */
  readonly pollSeconds: number;
  /** Ends the watch. */
  readonly signal: AbortSignal;
}

/** The signal is aborted when the action is not wanted any more. Disposed of when the action has ended. */
export type Watch = AsyncDisposable & { readonly signal: AbortSignal };

/**
 * So often in a row, half a poll apart, a server must say that it does not want an action, unless its answer is final: an action that is stopped by mistake is
 * worse than one that is stopped late, and a server that has just started may not know its workflows yet.
 */
const REFUSALS = 4;

/**
 * Looks from time to time whether a running action is still wanted. With three seconds between two polls, an action that is not is given up within ten seconds,
 * or as soon as the server has answered finally.
 */
export function watchDemand(action: Action, options: WatchOptions): Watch {
  const { transport, log, pollSeconds, clock } = options;
  const [unwanted, over] = [new AbortController(), new AbortController()];
  const signal = AbortSignal.any([options.signal, over.signal]);
  const look = async () => {
    for (let refusals = 0; ; ) {
      await clock.wait(refusals > 0 ? pollSeconds / 2 : pollIntervalSeconds(clock, pollSeconds), signal);
      // Trouble with the server is logged when the end is reported; until then the action goes on without it.
      const answer = await transport.demand(action, signal).catch(() => undefined);
      if (answer?.kind !== 'unwanted') {
        refusals = 0;
        continue;
      }
      refusals += 1;
      if (refusals < REFUSALS && answer.isFinal !== true) continue;
      log.warn(factsOf(action), `the action is stopped: ${answer.reason}`);
      unwanted.abort(new Error(answer.reason));
      return;
    }
  };
  const looking = look().catch(() => undefined);
  return {
    signal: unwanted.signal,
    [Symbol.asyncDispose]: async () => {
      over.abort();
      // A question about the action must not cross the report of its end.
      await looking;
    },
  };
}
