import { openSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { readCorpus } from './corpus.ts';
import { Coverage } from './coverage.ts';
import { type FuzzResult, fuzz } from './fuzz.ts';
import { selectInputs } from './select.ts';
import { loadTarget } from './targets.ts';

// `in-process.ts` starts it to fuzz a target: what hangs or takes all memory ends with it.

export interface ProcessSettings {
  readonly name: string;
  readonly seed: number;
  readonly maxSeconds: number;
  /** Whether inputs for the repository are wanted. */
  readonly selects: boolean;
  /** File for the input that is examined: its number, its length, each of 4 bytes, its bytes. */
  readonly currentPath: string;
}

export interface ProcessResult extends FuzzResult {
  /** CPU time. */
  readonly seconds: number;
  /** Inputs for the repository, of those and of what was kept before. */
  readonly selected: readonly Buffer[];
}

const { name, seed, maxSeconds, selects, currentPath } = JSON.parse(process.argv[2] ?? '') as ProcessSettings;
// Errors are made by the million, and few are shown.
Error.stackTraceLimit = 5;
const target = await loadTarget(name);
using coverage = new Coverage();
const startedAt = process.threadCpuUsage();
const current = openSync(currentPath, 'r+');
let number = 0;
const onInput = (input: Buffer) => {
  const record = Buffer.allocUnsafe(8 + input.length);
  record.writeUInt32LE(++number, 0);
  record.writeUInt32LE(input.length, 4);
  input.copy(record, 8);
  writeSync(current, record, 0, record.length, 0);
};
const { made, found } = await readCorpus(name);
const corpus = [...made, ...found];
const result = await fuzz(target, corpus, { seed, maxSeconds, maxRuns: Infinity, coverage, onInput });
const { user, system } = process.threadCpuUsage(startedAt);
const seeds = [...target.seeds.map((one) => Buffer.from(one)), ...made];
const selected =
  selects && result.violation === undefined
    ? await selectInputs(target, [...found, ...result.kept], { coverage, seeds, onInput })
    : [];
const send = promisify((message: ProcessResult, done: (error: Error | null) => void) =>
  process.send?.(message, undefined, undefined, done),
);
await send({ ...result, seconds: (user + system) / 1e6, selected });
// Targets may have left something behind.
process.exit();
