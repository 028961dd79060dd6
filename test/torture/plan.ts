import { SERVER_DIALECTS } from '../sandbox/tink-server/services.ts';
import { logarithmic, randomOf } from './chance.ts';
import type { Course } from './engine.ts';

/** What happens at a time, whatever the agent does then. */
export interface PlannedEvent {
  readonly atSeconds: number;
  readonly what:
    | 'workflow'
    | 'workflow deleted'
    | 'agent killed'
    | 'agent stopped'
    | 'power lost'
    | 'server away'
    | 'network silent'
    | 'engine away'
    | 'engine kills all'
    | 'registry away'
    | 'clock set';
  /** How long something is away or off. */
  readonly seconds: number;
  /** From 0 to 1, for all else that is to be chosen. */
  readonly size: number;
}

/** What the seed of a world decides before it begins. */
export interface WorldSettings {
  readonly interrupted: 'rerun' | 'fail';
  readonly finish: 'none' | 'reboot';
  readonly pollSeconds: number;
  readonly maxBackoffSeconds: number;
  /** Multiplies the odds of all faults of messages, disk and engine. */
  readonly severity: number;
}

/** How often a day, on average, and from how many to how many seconds it lasts. */
const kinds: readonly (readonly [PlannedEvent['what'], number, number, number])[] = [
  ['workflow', 5, 0, 0],
  ['workflow deleted', 0.3, 0, 0],
  ['agent killed', 3, 0.5, 600],
  ['agent stopped', 1, 0.5, 60],
  ['power lost', 2, 10, 1800],
  ['server away', 2, 1, 7200],
  ['network silent', 1, 1, 3600],
  ['engine away', 1, 1, 1800],
  ['engine kills all', 0.5, 1, 60],
  ['registry away', 1, 60, 7200],
  ['clock set', 0.2, 0, 0],
];

export const daySeconds = 24 * 3600;

/**
 * One world in five is short, and has in a day what happens to the others in a week: faults meet
 * that are rare each.
 */
export function isHarsh(seed: number): boolean {
  return Math.floor(seed / SERVER_DIALECTS.length) % 5 === 0;
}

export function daysOf(seed: number): number {
  return isHarsh(seed) ? 1 : 5;
}

export function settingsOf(seed: number): WorldSettings {
  const random = randomOf(seed);
  return {
    interrupted: random() < 0.35 ? 'fail' : 'rerun',
    finish: random() < 0.5 ? 'reboot' : 'none',
    pollSeconds: logarithmic(60, 1800, random()),
    maxBackoffSeconds: logarithmic(15, 600, random()),
    severity: isHarsh(seed) ? logarithmic(3, 6, random()) : logarithmic(0.2, 3, random()),
  };
}

/** In the order of time. */
export function planOf(seed: number): readonly PlannedEvent[] {
  const random = randomOf(seed + 0x5bd1e995);
  const days = daysOf(seed);
  const density = isHarsh(seed) ? 7 : 1;
  const events = kinds.flatMap(([what, perDay, min, max]) => {
    const count = Math.max(
      what === 'workflow' ? 1 : 0,
      Math.floor(perDay * density * days * (0.5 + random()) + random()),
    );
    return Array.from({ length: count }, (): PlannedEvent => {
      const seconds = max === 0 ? 0 : logarithmic(min, max, random());
      return { atSeconds: random() * days * daySeconds, what, seconds, size: random() };
    });
  });
  return events.sort((one, other) => one.atSeconds - other.atSeconds);
}

export interface PlannedAction extends Omit<Course, 'lines'> {
  readonly timeoutSeconds: number;
}

/** The actions of a workflow. */
export function actionsOf(seed: number): readonly PlannedAction[] {
  const random = randomOf(seed);
  return Array.from({ length: 1 + Math.floor(random() * 4) }, () => {
    const seconds = Math.round(logarithmic(1, 7200, random()));
    const exitCode = random() < 0.1 ? 1 + Math.floor(random() * 100) : 0;
    const timesOut = seconds > 10 && random() < 0.06;
    return { seconds, exitCode, timeoutSeconds: timesOut ? Math.floor(seconds / 2) : seconds * 2 + 60 };
  });
}
