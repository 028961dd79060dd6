import type { Clock } from '../../clock/clock.ts';
import { reasonOf } from '../../errors/reason.ts';
import { IncompleteWriteError } from '../disk/errors.ts';
import type { ActionLog } from './log.ts';
import type { Settings } from './settings.ts';

interface RetryContext {
  readonly log: ActionLog;
  /** The error as the log has it. */
  readonly explain: (error: unknown) => string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Pauses between attempts, as of the original's back-off: 0.5 s, half as much again each time. */
const firstPauseSeconds = 0.5;
const maxPauseSeconds = 60;

/**
 * Writes an image, and tries again as long as the settings say.
 * @param write one attempt
 * @throws what the last attempt threw; {IncompleteWriteError} in place of it if an earlier attempt
 *   has changed the disk: what the person reads last says how the disk was left
 */
export async function writeWithRetries(
  settings: Settings,
  write: (settings: Settings) => Promise<void>,
  { log, explain, clock, signal }: RetryContext,
): Promise<void> {
  const start = clock.monotonicSeconds();
  let current = settings;
  let left: IncompleteWriteError | undefined;
  for (let pause = firstPauseSeconds; ; pause = Math.min(maxPauseSeconds, pause * 1.5)) {
    try {
      await write(current);
      return;
    } catch (error) {
      const change = findChange(error);
      const elapsed = clock.monotonicSeconds() - start;
      if (signal.aborted || elapsed + pause > settings.retryMinutes * 60)
        throw change === undefined ? withState(error, left, signal) : error;
      left = change ?? left;
      current = onSameDisk(settings, left);
      log.error('retrying image2disk', { err: explain(error), duration: `${pause.toFixed(3)}s` });
    }
    await clock.wait(pause, signal).catch((error: unknown) => {
      throw withState(error, left, signal);
    });
  }
}

/** A disk that fails may be gone, and then another one would be the smallest. */
function onSameDisk(settings: Settings, left: IncompleteWriteError | undefined): Settings {
  const { target } = settings;
  if (left === undefined || target.kind === 'device') return settings;
  return { ...settings, target: { ...target, kind: 'device', path: left.target } };
}

function findChange(error: unknown): IncompleteWriteError | undefined {
  if (error instanceof IncompleteWriteError) return error;
  return error instanceof Error ? findChange(error.cause) : undefined;
}

/** @param left how an earlier attempt left the disk */
function withState(cause: unknown, left: IncompleteWriteError | undefined, signal: AbortSignal): unknown {
  if (left === undefined) return cause;
  const why = signal.aborted ? 'it was interrupted' : reasonOf(cause);
  return new IncompleteWriteError({ what: 'install to', target: left.target, why, cause }, left.tableRemoved);
}
