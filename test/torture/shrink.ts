import type { Deviations } from './chance.ts';
import { daySeconds, daysOf } from './plan.ts';
import { runWorld, type WorldOptions, type WorldResult } from './world.ts';

/**
 * Finds a small part of the deviations of a run that still violates the same invariant, by leaving
 * out ever smaller parts of them (delta debugging, Zeller and Hildebrandt 2002).
 *
 * @param maxRuns after so many runs the smallest part so far is taken
 * @returns the run with that part
 */
export async function shrink(options: WorldOptions, found: WorldResult, maxRuns: number): Promise<WorldResult> {
  let smallest = found;
  let runs = 0;
  const invariant = kindOf(found);
  const isLate = found.simulatedSeconds > daysOf(options.seed) * daySeconds;
  const attempt = async (replayed: Deviations): Promise<boolean> => {
    runs += 1;
    const untilSeconds = isLate ? undefined : smallest.simulatedSeconds + 3600;
    const result = await runWorld({ ...options, replayed, untilSeconds });
    if (kindOf(result) !== invariant || result.deviations.size >= smallest.deviations.size) return false;
    smallest = result;
    return true;
  };
  // Mostly the last ones are enough.
  for (let count = 4; count < found.deviations.size; count *= 2)
    if (await attempt(new Map([...found.deviations].slice(-count)))) break;
  let parts = 2;
  while (runs < maxRuns) {
    const all = [...smallest.deviations];
    const length = Math.ceil(all.length / parts);
    let isSmaller = false;
    for (let begin = 0; begin < all.length && runs < maxRuns && !isSmaller; begin += length)
      isSmaller = await attempt(new Map([...all.slice(0, begin), ...all.slice(begin + length)]));
    if (isSmaller) parts = Math.max(2, parts - 1);
    else if (length <= 1) break;
    else parts = Math.min(all.length, parts * 2);
  }
  return smallest;
}

/** `invariant 3`; `undefined`: none is violated. */
function kindOf({ violation }: WorldResult): string | undefined {
  return violation?.slice(0, violation.indexOf(':'));
}
