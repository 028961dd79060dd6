import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SERVER_DIALECTS } from '../sandbox/tink-server/services.ts';
import type { MissingSync } from './disk.ts';
import { daysOf, isHarsh } from './plan.ts';
import { shrink } from './shrink.ts';
import { runWorld, type WorldOptions } from './world.ts';

export interface Violation {
  readonly seed: number;
  readonly what: string;
  /** The shortest story that was found, a line for each event. */
  readonly story: readonly string[];
}

/** What a world was like: a machine, a server, and the faults of its seed. */
export interface WorldSummary {
  readonly simulatedDays: number;
  readonly violation: Violation | undefined;
  /** How often something happened. */
  readonly counts: Readonly<Record<string, number>>;
}

export interface SimulationOptions {
  /** A fault in the journal that is to be found. Default: none. */
  readonly missingSync?: MissingSync | undefined;
  /** So many runs are made at most to shorten a story. Default: 400. */
  readonly maxShrinkingRuns?: number | undefined;
}

/**
 * The seeds of so many days from the first seed on. Harsh worlds come first: what is wrong shows
 * soon.
 */
export function seedsOf(first: number, days: number): readonly number[] {
  const seeds: number[] = [];
  for (let [seed, left] = [first, days]; left > 0; seed += 1) {
    seeds.push(seed);
    left -= daysOf(seed);
  }
  return [...seeds.filter(isHarsh), ...seeds.filter((seed) => !isHarsh(seed))];
}

/** Simulates the world of a seed; a violation comes with a short story. */
export async function simulate(
  seed: number,
  { missingSync, maxShrinkingRuns = 400 }: SimulationOptions = {},
): Promise<WorldSummary> {
  const workDirectory = await mkdtemp(join(tmpdir(), 'nibs-torture-'));
  try {
    const dialect = SERVER_DIALECTS[seed % SERVER_DIALECTS.length] ?? 'v0.1';
    const world: WorldOptions = { seed, dialect, workDirectory, missingSync };
    const result = await runWorld(world);
    const { counts, simulatedSeconds } = result;
    const simulatedDays = simulatedSeconds / (24 * 3600);
    if (result.violation === undefined) return { simulatedDays, counts, violation: undefined };
    const shrunk = await shrink(world, result, maxShrinkingRuns);
    return { simulatedDays, counts, violation: { seed, what: shrunk.violation ?? '', story: shrunk.story } };
  } finally {
    await rm(workDirectory, { recursive: true });
  }
}
