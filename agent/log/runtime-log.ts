import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import type { OnRuntimeEvent, RuntimeEvent } from '../runtime/event.ts';
import { type Log, logFields } from './log.ts';

/** Interval between log lines on the progress of a pull. */
const progressIntervalSeconds = 5;

export interface RuntimeLogOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** Whether the output of actions goes to the log. */
  readonly output: boolean;
}

/** Logs the events of the runtime. */
export function createRuntimeLog(log: Log, { output, clock = systemClock }: RuntimeLogOptions): OnRuntimeEvent {
  let progressToldAt = Number.NEGATIVE_INFINITY;

  function mayTellProgress(): boolean {
    const now = clock.monotonicSeconds();
    if (now - progressToldAt < progressIntervalSeconds) return false;
    progressToldAt = now;
    return true;
  }

  return (event: RuntimeEvent) => {
    switch (event.kind) {
      case 'pulling':
        progressToldAt = clock.monotonicSeconds();
        return log.info({ ...logFields(event.action), image: event.image }, 'pulling the image');
      case 'pull-progress':
        if (mayTellProgress())
          log.info(
            logFields(event.action),
            `pulling ${event.image}: ${megabytes(event.doneBytes)} of ${megabytes(event.totalBytes)} MB`,
          );
        return;
      case 'pulled':
        return log.info(
          { ...logFields(event.action), image: event.image },
          `image pulled in ${event.seconds.toFixed(1)} s`,
        );
      case 'images-loaded': {
        const { archive, images, seconds } = event;
        return log.info({ archive, images }, `images loaded in ${seconds.toFixed(1)} s: ${images.join(', ')}`);
      }
      case 'started':
        return log.info(
          { ...logFields(event.action), container: event.container },
          event.adopted
            ? `${event.role}: waiting for the container of an earlier agent`
            : `${event.role}: container started`,
        );
      case 'output':
        if (output) log.info({ ...logFields(event.action), stream: event.stream }, event.line);
        return;
      case 'ended':
        // The loop logs the end of the action itself, with its result.
        if (event.role !== 'action')
          log.info({ ...logFields(event.action), exitCode: event.exitCode }, `${event.role}: ${event.message}`);
        return;
      case 'warning':
        return log.warn(logFields(event.action), event.message);
      case 'engine':
        return event.reachable ? log.info(event.message) : log.warn(event.message);
      case 'engine-warning':
        return log.warn(event.message);
    }
  };
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
