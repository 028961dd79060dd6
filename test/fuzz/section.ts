/**
 * Section `fuzz` of `make torture`, and `make fuzz`: random and hostile inputs for the borders to
 * the outside. Settings are environment variables:
 *
 * - `FUZZ`: names of targets, separated by spaces. Default: all.
 * - `FUZZ_SECONDS`: CPU time for each. Default: 60.
 * - `SEED`: of the first inputs. Default: 1.
 */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { print, type Row, settingsFrom } from '../torture/section.ts';
import { writeCorpus } from './corpus.ts';
import type { FoundViolation } from './fuzz.ts';
import { fuzzInProcess } from './in-process.ts';
import { targetNames } from './targets.ts';

export interface FuzzSectionOptions {
  /** Whether to replace what the fuzzer has found before by a better choice. Default: no. */
  readonly writesCorpus?: boolean;
}

/** The targets to fuzz, or to give an input to. */
export function chosenTargets(): readonly string[] {
  const { FUZZ } = settingsFrom({ FUZZ: z.string().default(targetNames.join(' ')) });
  return FUZZ.split(/\s+/).filter((name) => name !== '');
}

export async function runFuzz({ writesCorpus = false }: FuzzSectionOptions = {}): Promise<readonly Row[]> {
  const { FUZZ_SECONDS: maxSeconds, SEED: seed } = settingsFrom({
    FUZZ_SECONDS: z.coerce.number().positive().default(60),
    SEED: z.coerce.number().int().default(1),
  });
  const rows: Row[] = [];
  for (const name of chosenTargets()) {
    const { runs, seconds, violation, kept, selected } = await fuzzInProcess({
      ...{ name, seed, maxSeconds, selects: writesCorpus },
    });
    const violations = violation === undefined ? 0 : 1;
    rows.push({ section: `fuzz:${name}`, runs, violations, seed });
    print(
      `${name.padEnd(22)} ${String(runs).padStart(8)} runs from seed ${seed}, ${seconds.toFixed(0).padStart(4)} s of CPU time, ${kept.length} inputs with new code, ${violations} violations`,
    );
    if (violation !== undefined) await report(name, violation);
    else if (writesCorpus) {
      await writeCorpus(name, selected);
      print(`  corpus: ${selected.length} inputs, ${selected.reduce((sum, { length }) => sum + length, 0)} bytes`);
    }
  }
  return rows;
}

async function report(name: string, { input, what }: FoundViolation): Promise<void> {
  const path = join(await mkdtemp(join(tmpdir(), 'nibs-fuzz-')), name);
  await writeFile(path, input);
  print(`  ${what.split('\n').join('\n  ')}`);
  print(`  input: ${JSON.stringify(input.subarray(0, 300).toString('latin1'))}${input.length > 300 ? '…' : ''}`);
  print(`  again: make fuzz FUZZ=${name} INPUT=${path}`);
}
