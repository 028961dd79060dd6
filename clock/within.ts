import type { Clock } from './clock.ts';
import { type Limit, startDeadline } from './deadline.ts';

/**
 * Waits for work, but no longer than a limit: work that does not notice that its signal is aborted
 * is left to itself.
 *
 * @param work Its signal is aborted when the limit is exceeded, and with `signal`. What it returns
 *   may go on using it: after the return no deadline aborts it.
 * @throws {DeadlineError} the limit is exceeded; the reason of `signal`; what the work throws
 */
export async function within<Result>(
  clock: Clock,
  limit: Limit,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  signal.throwIfAborted();
  using deadline = startDeadline(clock, limit, signal);
  const stopped = Promise.withResolvers<never>();
  const stop = () => stopped.reject(deadline.signal.reason);
  deadline.signal.addEventListener('abort', stop, { once: true });
  try {
    return await Promise.race([work(deadline.signal), stopped.promise]);
  } catch (error) {
    throw deadline.signal.aborted ? deadline.signal.reason : error;
  } finally {
    deadline.signal.removeEventListener('abort', stop);
  }
}
