import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import type { Coverage } from './coverage.ts';
import { examine } from './examine.ts';
import { inputsOf } from './inputs.ts';
import { type Target, Violation } from './target.ts';

export interface FuzzOptions {
  readonly seed: number;
  /** Inputs besides those of the corpus. */
  readonly maxRuns: number;
  /** CPU time of this thread. Default: no limit. */
  readonly maxSeconds?: number;
  /** With it, inputs that reach new code are changed further. */
  readonly coverage?: Coverage;
  /** Called with each input before it is examined. */
  readonly onInput?: (input: Buffer) => void;
}

export interface FuzzResult {
  readonly runs: number;
  /** Inputs that reached new code, besides the seeds. */
  readonly kept: readonly Buffer[];
  readonly violation: FoundViolation | undefined;
}

export interface FoundViolation {
  /** As small as it could be made. */
  readonly input: Buffer;
  readonly what: string;
}

const runsInRound = 64;

/**
 * Examines the seeds and the corpus, then changed ones, until there is a violation.
 *
 * @param corpus inputs besides the target's seeds
 */
export async function fuzz(target: Target, corpus: readonly Buffer[], options: FuzzOptions): Promise<FuzzResult> {
  const { seed, maxRuns, maxSeconds = Infinity, coverage, onInput } = options;
  const startedAt = cpuSeconds();
  const pool = [...target.seeds.map((one) => Buffer.from(one)), ...corpus];
  const kept: Buffer[] = [];
  let runs = 0;
  const run = async (input: Buffer) => {
    onInput?.(input);
    runs++;
    await examine(target, input);
    // What an input has left behind fails now, and not with another one.
    await setImmediate();
  };
  for (const input of pool) {
    const violation = await violationBy(input);
    if (violation !== undefined) return { runs, kept, violation };
  }
  coverage?.remember(coverage.take());
  const firstRuns = runs;
  for (let round = 0; runs - firstRuns < maxRuns && cpuSeconds() - startedAt < maxSeconds; round++) {
    const tried: Buffer[] = [];
    const property = fc.asyncProperty(inputsOf(target, pool), async (input) => {
      tried.push(input);
      await run(input);
    });
    const numRuns = Math.min(runsInRound, maxRuns - (runs - firstRuns));
    const outcome = await fc.check(property, { seed: seed + round, numRuns });
    if (outcome.failed) {
      const error = outcome.errorInstance;
      if (!(error instanceof Violation)) throw error;
      return { runs, kept, violation: { input: outcome.counterexample?.[0] ?? Buffer.alloc(0), what: error.message } };
    }
    const violation = coverage && (await keepNew(coverage, tried, coverage.take()));
    if (violation !== undefined) return { runs, kept, violation };
  }
  return { runs, kept, violation: undefined };

  async function violationBy(input: Buffer): Promise<FoundViolation | undefined> {
    try {
      await run(input);
      return undefined;
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      return { input, what: error.message };
    }
  }

  /**
   * Halves what reached new code until it is single inputs: to ask for coverage costs most.
   * @returns of an input that is one only when it is examined again
   */
  async function keepNew(
    coverage: Coverage,
    tried: readonly Buffer[],
    reached: readonly string[],
  ): Promise<FoundViolation | undefined> {
    if (!coverage.hasNew(reached)) return undefined;
    const [only, ...others] = tried;
    if (only !== undefined && others.length === 0) {
      coverage.remember(reached);
      pool.push(only);
      kept.push(only);
      return undefined;
    }
    const middle = tried.length >> 1;
    for (const half of [tried.slice(0, middle), tried.slice(middle)]) {
      for (const input of half) {
        const violation = await violationBy(input);
        if (violation !== undefined) return violation;
      }
      const violation = await keepNew(coverage, half, coverage.take());
      if (violation !== undefined) return violation;
    }
    return undefined;
  }
}

function cpuSeconds(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1e6;
}
