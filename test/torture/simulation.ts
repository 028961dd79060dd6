/**
 * Section `agent`: the agent simulated with faults, in virtual time. Settings are environment
 * variables:
 *
 * - `SEED`: of the first world. Default: 1.
 * - `DAYS`: how many days are simulated in all; always whole worlds. Default: 10,000.
 * - `MISSING_SYNC`: `record`, `rewrite` or `directory`: a sync that the journal leaves out, which
 *   must be found; the first violation ends the run.
 */
import { z } from 'zod';
import { seedsOf } from './agent.ts';
import { MISSING_SYNCS } from './disk.ts';
import { print, printTable, type Row, settingsFrom } from './section.ts';
import { simulateAll } from './worlds.ts';

const maxStoryLines = 200;

export async function runSimulation(): Promise<readonly Row[]> {
  const settings = settingsFrom({
    SEED: z.coerce.number().int().default(1),
    DAYS: z.coerce.number().positive().default(10_000),
    MISSING_SYNC: z.enum(MISSING_SYNCS).optional(),
  });
  const { SEED: seed, DAYS: days, MISSING_SYNC: missingSync } = settings;
  const begin = performance.now();
  const seconds = () => (performance.now() - begin) / 1000;
  const counts = new Map<string, number>();
  let [worlds, simulatedDays, violations, printedAt] = [0, 0, 0, 0];
  for await (const summary of simulateAll(seedsOf(seed, days), { missingSync })) {
    worlds += 1;
    simulatedDays += summary.simulatedDays;
    for (const [what, count] of Object.entries(summary.counts)) counts.set(what, (counts.get(what) ?? 0) + count);
    if (summary.violation !== undefined) {
      violations += 1;
      print(`\nseed ${summary.violation.seed}, after ${seconds().toFixed(0)} s: ${summary.violation.what}`);
      for (const line of summary.violation.story.slice(-maxStoryLines)) print(`  ${line}`);
      if (missingSync !== undefined) break;
    }
    if (seconds() - printedAt < 10) continue;
    printedAt = seconds();
    print(`${worlds} worlds, ${simulatedDays.toFixed(0)} days, ${violations} violations`);
  }
  print('');
  printTable([['what happened', 'times'], ...[...counts].sort()]);
  print('');
  printTable([
    ['section', 'worlds', 'first seed', 'simulated days', 'seconds', 'violations'],
    ['agent', worlds, seed, simulatedDays.toFixed(0), seconds().toFixed(0), violations],
  ]);
  return [{ section: 'agent', runs: worlds, violations, seed }];
}
