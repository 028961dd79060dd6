import type { Clock, Timer } from './clock.ts';

/** How long something may take. */
export interface Limit {
  /** `Infinity`: no limit. */
  readonly seconds: number;
  /** What is awaited, for the message "no … within 20 s": for example `response`. */
  readonly awaited: string;
}

/** Something took longer than it may. */
export class DeadlineError extends Error {
  override readonly name: string = 'DeadlineError';
  readonly awaited: string;
  readonly seconds: number;

  constructor({ awaited, seconds }: Limit, options?: ErrorOptions) {
    super(`no ${awaited} within ${seconds} s`, options);
    this.awaited = awaited;
    this.seconds = seconds;
  }
}

/**
 * A signal that is aborted when a limit is exceeded. Disposed of when the work is done; then no
 * deadline comes any more.
 */
export interface Deadline extends Disposable {
  /**
   * Its reason is a {@link DeadlineError}, or that of the signal that the deadline was made with.
   */
  readonly signal: AbortSignal;
  /** Whether the limit was exceeded. */
  readonly isOver: boolean;
  /** There was progress: the time starts again. */
  restart(): void;
}

/**
 * Starts the time of a limit.
 * @param signal aborts the signal of the deadline too, also after the deadline is disposed of
 */
export function startDeadline(clock: Clock, limit: Limit, signal?: AbortSignal): Deadline {
  const late = new AbortController();
  const expire = () => late.abort(new DeadlineError(limit));
  const timer: Timer | undefined = Number.isFinite(limit.seconds) ? clock.schedule(limit.seconds, expire) : undefined;
  return {
    signal: signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]),
    get isOver() {
      return late.signal.aborted;
    },
    restart: () => timer?.restart(),
    [Symbol.dispose]: () => timer?.[Symbol.dispose](),
  };
}
