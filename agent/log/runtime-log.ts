import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import type { OnRuntimeEvent, RuntimeEvent } from '../runtime/event.ts';
import { factsOf, type Log, withoutSecretFields } from './log.ts';

/** How often the progress of a pull is told; the runtime tells it more often than anybody reads. */
const progressIntervalSeconds = 5;

export interface RuntimeLogOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** Whether the output of actions goes to the log. */
  readonly output: boolean;
}

/** Turns what the runtime tells into log events, one an event. */
export function createRuntimeLog(log: Log, { output, clock = systemClock }: RuntimeLogOptions): OnRuntimeEvent {
  const outputLog = withoutSecretFields(log);
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
        return log.info({ ...factsOf(event.action), image: event.image }, 'pulling the image');
      case 'pull-progress':
        if (mayTellProgress())
          log.info(
            factsOf(event.action),
            `pulling ${event.image}: ${megabytes(event.doneBytes)} of ${megabytes(event.totalBytes)} MB`,
          );
        return;
      case 'pulled':
        return log.info(
          { ...factsOf(event.action), image: event.image },
          `the image is there after ${event.seconds.toFixed(1)} s`,
        );
      case 'started':
        return log.info(
          { ...factsOf(event.action), container: event.container },
          event.adopted
            ? `${event.role}: waiting for the container that an earlier agent started`
            : `${event.role}: the container runs`,
        );
      case 'output':
        if (output) outputLog.info({ ...factsOf(event.action), stream: event.stream }, event.line);
        return;
      case 'ended':
        // The end of the action itself is told by the loop, with its verdict.
        if (event.role !== 'action')
          log.info({ ...factsOf(event.action), exitCode: event.exitCode }, `${event.role}: ${event.message}`);
        return;
      case 'warning':
        return log.warn(factsOf(event.action), event.message);
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
