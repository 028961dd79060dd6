/**
 * Section `installer`: installations with faults of the disk, the network and the machine. Settings
 * are environment variables:
 *
 * - `SEED`: chooses the points of each fault. Default: 1.
 * - `ROW`: a fault, or several separated by spaces. Default: all.
 * - `POINTS`: how many each has. Default: 50.
 * - `CELL`: number of the only cell that is run.
 */
import { z } from 'zod';
import { print, type Row, settingsFrom } from '../section.ts';
import { createBench, FAULT_NAMES, runFault } from './matrix.ts';

export async function runInstallerFaults(): Promise<readonly Row[]> {
  const settings = settingsFrom({
    SEED: z.coerce.number().int().default(1),
    ROW: z.string().default(FAULT_NAMES.join(' ')),
    POINTS: z.coerce.number().int().positive().default(50),
    CELL: z.coerce.number().int().optional(),
  });
  const { SEED: seed, POINTS: points, CELL: cell } = settings;
  // The installer in this process listens for signals, too.
  const interrupt = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupt.abort());
  const { signal } = interrupt;
  await using bench = await createBench(seed);
  const results: Row[] = [];
  print(line('fault', 'points', 'runs', 'violations', 'seconds', 'the disk was left'));
  for (const fault of settings.ROW.trim().split(/\s+/)) {
    if (signal.aborted) break;
    const row = await runFault(bench, fault, { seed, points, cell, signal, onViolation: print });
    const { runs, violations, seconds } = row;
    const left = [...row.states].map(([state, count]) => `${state} ${count}`).join(', ');
    print(line(fault, row.points, runs, violations.length, seconds.toFixed(0), left));
    results.push({ section: `installer:${fault}`, runs, violations: violations.length, seed });
  }
  return results;
}

/** A line of the table, which is printed as it grows. */
function line(fault: string, ...columns: readonly (string | number)[]): string {
  const numbers = columns.slice(0, -1).map((column) => String(column).padStart(10));
  return `${fault.padEnd(18)}${numbers.join('')}  ${columns.at(-1)}`;
}
