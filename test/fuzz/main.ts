/**
 * Fuzzes the borders to the outside: `make fuzz`. Settings are environment variables, those of
 * `section.ts` and:
 *
 * - `INPUT`: a file to examine in place of all that, with one target.
 * - `TORTURE_JSON`: file for a row of JSON for each target; other rows in it are kept.
 *
 * With `--select-corpus` a few of the inputs that reach new code are kept in `corpus/`.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { saveRows, settingsFrom } from '../torture/section.ts';
import { examine } from './examine.ts';
import { chosenTargets, runFuzz } from './section.ts';
import { loadTarget } from './targets.ts';

const { INPUT, TORTURE_JSON } = settingsFrom({ INPUT: z.string().optional(), TORTURE_JSON: z.string().optional() });

if (INPUT !== undefined) {
  for (const name of chosenTargets()) await examine(await loadTarget(name), await readFile(INPUT));
} else {
  const rows = await runFuzz({ writesCorpus: process.argv.includes('--select-corpus') });
  if (TORTURE_JSON !== undefined) await saveRows(TORTURE_JSON, rows);
  if (rows.some(({ violations }) => violations > 0)) process.exitCode = 1;
}
