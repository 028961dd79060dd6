import { parentPort, workerData } from 'node:worker_threads';
import { readCorpus } from './corpus.ts';
import { Coverage } from './coverage.ts';
import { type FuzzResult, fuzz } from './fuzz.ts';
import { loadTarget } from './targets.ts';

// The thread in which `main.ts` fuzzes a target: what hangs or takes all memory ends with it.

export interface ThreadSettings {
  readonly name: string;
  readonly seed: number;
  readonly maxSeconds: number;
  /** The input that is examined: its number, its length, then its bytes. */
  readonly current: SharedArrayBuffer;
}

export type ThreadResult = FuzzResult & { readonly seconds: number };

const { name, seed, maxSeconds, current } = workerData as ThreadSettings;
const [head, bytes] = [new Int32Array(current, 0, 2), Buffer.from(current, 8)];
// Errors are made by the million, and few are shown.
Error.stackTraceLimit = 5;
const target = await loadTarget(name);
using coverage = new Coverage();
const startedAt = process.threadCpuUsage();
const result = await fuzz(target, await readCorpus(name), {
  ...{ seed, maxSeconds, maxRuns: Infinity, coverage },
  onInput(input) {
    input.copy(bytes);
    head[1] = input.length;
    Atomics.add(head, 0, 1);
  },
});
const { user, system } = process.threadCpuUsage(startedAt);
parentPort?.postMessage({ ...result, seconds: (user + system) / 1e6 } satisfies ThreadResult);
