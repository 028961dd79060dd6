import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SERVER_DIALECTS } from '../sandbox/tink-server/services.ts';
import type { MissingSync } from './disk.ts';
import { shrink } from './shrink.ts';
import { runWorld, type WorldOptions, type WorldResult } from './world.ts';

export interface AgentTortureOptions {
  /** Of the first world; the others have the numbers after it. */
  readonly seed: number;
  /** In all. */
  readonly days: number;
  /** A fault in the journal that is to be found. Default: none. */
  readonly missingSync?: MissingSync | undefined;
  /** Ends at the first violation. Default: false. */
  readonly stopsAtViolation?: boolean | undefined;
  /** So many runs are made at most to shorten a story. Default: 400. */
  readonly maxShrinkingRuns?: number | undefined;
  /** Called after each world. */
  readonly onWorld?: ((done: AgentTortureResult) => void) | undefined;
}

export interface Violation {
  readonly seed: number;
  readonly what: string;
  /** The shortest story that was found, a line for each event. */
  readonly story: readonly string[];
}

export interface AgentTortureResult {
  readonly worlds: number;
  readonly simulatedDays: number;
  readonly violations: readonly Violation[];
  /** How often something happened in all worlds. */
  readonly counts: ReadonlyMap<string, number>;
}

/** Of one world: a machine, a server, and the faults of its seed. */
export const DAYS_OF_WORLD = 5;

/** Simulates agents with faults, one world after another; each has another protocol version. */
export async function tortureAgent(options: AgentTortureOptions): Promise<AgentTortureResult> {
  const workDirectory = await mkdtemp(join(tmpdir(), 'nibs-torture-'));
  const violations: Violation[] = [];
  const counts = new Map<string, number>();
  let [worlds, simulatedDays] = [0, 0];
  const done = () => ({ worlds, simulatedDays, violations, counts });
  try {
    while (worlds * DAYS_OF_WORLD < options.days) {
      const world = worldOf(options, options.seed + worlds, workDirectory);
      worlds += 1;
      const result = await runWorld(world);
      simulatedDays += result.simulatedSeconds / (24 * 3600);
      for (const [what, count] of Object.entries(result.counts)) counts.set(what, (counts.get(what) ?? 0) + count);
      if (result.violation !== undefined)
        violations.push(await explain(world, result, options.maxShrinkingRuns ?? 400));
      options.onWorld?.(done());
      if (violations.length > 0 && options.stopsAtViolation === true) break;
    }
  } finally {
    await rm(workDirectory, { recursive: true });
  }
  return done();
}

function worldOf({ days, missingSync }: AgentTortureOptions, seed: number, workDirectory: string): WorldOptions {
  const dialect = SERVER_DIALECTS[seed % SERVER_DIALECTS.length] ?? 'v0.1';
  return { seed, days: Math.min(days, DAYS_OF_WORLD), dialect, workDirectory, missingSync };
}

async function explain(world: WorldOptions, result: WorldResult, maxShrinkingRuns: number): Promise<Violation> {
  const shrunk = await shrink(world, result, maxShrinkingRuns);
  return { seed: world.seed, what: shrunk.violation ?? '', story: shrunk.story };
}
