import { type Coverage, CoveredCode } from './coverage.ts';
import { examine } from './examine.ts';
import type { Target } from './target.ts';

export interface SelectOptions {
  readonly coverage: Coverage;
  /** What is known already, and kept in any case. */
  readonly seeds: readonly Buffer[];
  /** Called with each input before it is examined. */
  readonly onInput?: (input: Buffer) => void;
}

/** Inputs of a target in the repository: together, and each. */
const maxInputs = 10;
const maxTotalBytes = 4 * 1024;
const maxInputBytes = 1024;
/** An attempt to make an input shorter takes some milliseconds. */
const maxAttempts = 150;

interface Selected {
  readonly input: Buffer;
  /** What it alone reached when it was selected. */
  readonly gain: CoveredCode;
}

/**
 * Of inputs that are no violations, a few short ones that together reach as much code as there is
 * room for: the one with the most new code first, each made shorter as far as it reaches the same.
 */
export async function selectInputs(
  target: Target,
  inputs: readonly Buffer[],
  { coverage, seeds, onInput }: SelectOptions,
): Promise<readonly Buffer[]> {
  const reachedBy = async (input: Buffer) => {
    coverage.take();
    onInput?.(input);
    await examine(target, input);
    return coverage.takeCode();
  };
  const known = new CoveredCode();
  for (const seed of seeds) known.add(await reachedBy(seed));
  let candidates: Selected[] = [];
  for (const input of inputs) candidates.push({ input, gain: (await reachedBy(input)).without(known) });
  candidates = candidates.filter(({ gain }) => gain.size > 0);
  const selected: Selected[] = [];
  let leftBytes = maxTotalBytes;
  while (candidates.length > 0 && selected.length < maxInputs) {
    const [best, ...others] = candidates.toSorted(byGain);
    if (best === undefined) break;
    const input = await shortened(best, reachedBy);
    if (input.length <= Math.min(maxInputBytes, leftBytes)) {
      selected.push({ ...best, input });
      leftBytes -= input.length;
      known.add(best.gain);
    }
    candidates = others.map((one) => ({ ...one, gain: one.gain.without(known) })).filter(({ gain }) => gain.size > 0);
  }
  return await neededOf(selected, reachedBy);
}

function byGain(one: Selected, other: Selected): number {
  return other.gain.size - one.gain.size || one.input.length - other.input.length;
}

type ReachedBy = (input: Buffer) => Promise<CoveredCode>;

/** Leaves out parts, ever smaller ones. */
async function shortened({ input, gain }: Selected, reachedBy: ReachedBy): Promise<Buffer> {
  let [shortest, attempts] = [input, 0];
  for (let partBytes = input.length; partBytes >= 1; partBytes = Math.floor(partBytes / 2)) {
    for (let offset = 0; offset < shortest.length && attempts < maxAttempts; ) {
      const without = Buffer.concat([shortest.subarray(0, offset), shortest.subarray(offset + partBytes)]);
      attempts++;
      if (gain.without(await reachedBy(without)).size === 0) shortest = without;
      else offset += partBytes;
    }
  }
  return shortest;
}

/** Without those whose gain the others have, which were selected later. */
async function neededOf(selected: readonly Selected[], reachedBy: ReachedBy): Promise<readonly Buffer[]> {
  const reached = new Map<Selected, CoveredCode>();
  for (const one of selected) reached.set(one, await reachedBy(one.input));
  for (const one of selected) {
    const byOthers = new CoveredCode();
    for (const [other, code] of reached) if (other !== one) byOthers.add(code);
    if (one.gain.without(byOthers).size === 0) reached.delete(one);
  }
  return [...reached.keys()].map(({ input }) => input);
}
