/**
 * Simulates the agent with faults: `make torture`. Settings are environment variables:
 *
 * - `SEED`: of the first world. Default: 1.
 * - `DAYS`: how many days are simulated in all. Default: 10,000.
 * - `MISSING_SYNC`: `record`, `rewrite` or `directory`: a sync that the journal leaves out, which
 *   must be found.
 * - `TORTURE_JSON`: file for a row of JSON for each section.
 */
import { writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { tortureAgent } from './agent.ts';
import { MISSING_SYNCS } from './disk.ts';

/** make exports a variable that is not set as an empty one. */
const given = Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== ''));

const settings = z
  .object({
    SEED: z.coerce.number().int().default(1),
    DAYS: z.coerce.number().positive().default(10_000),
    MISSING_SYNC: z.enum(MISSING_SYNCS).optional(),
    TORTURE_JSON: z.string().optional(),
  })
  .parse(given);

const maxStoryLines = 200;

// Errors are part of the simulation; where they were made is not shown.
Error.stackTraceLimit = 0;

const { SEED: seed, DAYS: days, MISSING_SYNC: missingSync } = settings;
const print = (text: string) => process.stdout.write(`${text}\n`);
const begin = performance.now();
let printedAt = begin;
let told = 0;
const result = await tortureAgent({
  ...{ seed, days, missingSync, stopsAtViolation: missingSync !== undefined },
  onWorld({ worlds, simulatedDays, violations }) {
    for (const { seed, what, story } of violations.slice(told)) {
      print(`\nseed ${seed}: ${what}`);
      for (const line of story.slice(-maxStoryLines)) print(`  ${line}`);
    }
    told = violations.length;
    if (performance.now() - printedAt < 10_000) return;
    printedAt = performance.now();
    print(`${worlds} worlds, ${simulatedDays.toFixed(0)} days, ${violations.length} violations`);
  },
});
const seconds = (performance.now() - begin) / 1000;
const { user, system } = process.cpuUsage();
print('');
for (const [what, count] of [...result.counts].sort()) print(`${String(count).padStart(9)} ${what}`);
print(
  `agent: ${result.worlds} worlds from seed ${seed}, ${result.simulatedDays.toFixed(0)} simulated days in ${seconds.toFixed(0)} s (${((user + system) / 1e6).toFixed(0)} s of processor time), ${result.violations.length} violations`,
);
if (settings.TORTURE_JSON !== undefined) {
  const row = { section: 'agent', runs: result.worlds, violations: result.violations.length, seed };
  await writeFile(settings.TORTURE_JSON, `${JSON.stringify([row], null, 2)}\n`);
}
process.exitCode = result.violations.length > 0 ? 1 : 0;
