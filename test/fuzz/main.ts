/**
 * Fuzzes the borders to the outside: `make fuzz`. Settings are environment variables:
 *
 * - `FUZZ`: names of targets, separated by spaces. Default: all.
 * - `FUZZ_SECONDS`: CPU time for each. Default: 60.
 * - `SEED`: of the first inputs. Default: 1.
 * - `INPUT`: a file to examine in place of all that, with one target.
 * - `TORTURE_JSON`: file for a row of JSON for each target.
 *
 * With `--add-to-corpus` inputs that reach new code are kept in `corpus/`.
 */
import { mkdtemp, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { z } from 'zod';
import { addToCorpus } from './corpus.ts';
import { examine } from './examine.ts';
import type { FoundViolation } from './fuzz.ts';
import { loadTarget, targetNames } from './targets.ts';
import type { ThreadResult, ThreadSettings } from './thread.ts';

/** make exports a variable that is not set as an empty one. */
const given = Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== ''));

const settings = z
  .object({
    FUZZ: z.string().default(targetNames.join(' ')),
    FUZZ_SECONDS: z.coerce.number().positive().default(60),
    SEED: z.coerce.number().int().default(1),
    INPUT: z.string().optional(),
    TORTURE_JSON: z.string().optional(),
  })
  .parse(given);

/** CPU time for one input; `examine()` allows some seconds. */
const hangsAfterSeconds = 60;
const maxInputBytes = 1024 * 1024;
const maxHeapMiB = 1024;

const names = settings.FUZZ.split(/\s+/).filter((name) => name !== '');
const print = (text: string) => process.stdout.write(`${text}\n`);

if (settings.INPUT === undefined) await fuzzAll();
else for (const name of names) await examine(await loadTarget(name), await readFile(settings.INPUT));

async function fuzzAll(): Promise<void> {
  const { FUZZ_SECONDS: maxSeconds, SEED: seed } = settings;
  const rows: object[] = [];
  for (const name of names) {
    const { runs, seconds, violation, kept } = await fuzzInThread({ name, seed, maxSeconds });
    const violations = violation === undefined ? 0 : 1;
    rows.push({ section: `fuzz:${name}`, runs, violations, seed });
    print(
      `${name.padEnd(22)} ${String(runs).padStart(8)} runs from seed ${seed}, ${seconds.toFixed(0).padStart(4)} s of CPU time, ${kept.length} inputs with new code, ${violations} violations`,
    );
    if (violation !== undefined) await report(name, violation);
    else if (process.argv.includes('--add-to-corpus')) print(`  ${await addToCorpus(name, kept)} added to the corpus`);
  }
  if (settings.TORTURE_JSON !== undefined) await writeFile(settings.TORTURE_JSON, `${JSON.stringify(rows, null, 2)}\n`);
}

async function report(name: string, { input, what }: FoundViolation): Promise<void> {
  process.exitCode = 1;
  const path = join(await mkdtemp(join(tmpdir(), 'nibs-fuzz-')), name);
  await writeFile(path, input);
  print(`  ${what.split('\n').join('\n  ')}`);
  print(`  input: ${JSON.stringify(input.subarray(0, 300).toString('latin1'))}${input.length > 300 ? '…' : ''}`);
  print(`  again: make fuzz FUZZ=${name} INPUT=${path}`);
}

async function fuzzInThread(options: Omit<ThreadSettings, 'current'>): Promise<ThreadResult> {
  const current = new SharedArrayBuffer(8 + maxInputBytes);
  const head = new Int32Array(current, 0, 2);
  // A thread that is terminated removes nothing itself.
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-fuzz-'));
  const worker = new Worker(new URL('./thread.ts', import.meta.url), {
    workerData: { ...options, current } satisfies ThreadSettings,
    env: { ...process.env, TMPDIR: scratch.path },
    resourceLimits: { maxOldGenerationSizeMb: maxHeapMiB },
  });
  const { promise, resolve, reject } = Promise.withResolvers<ThreadResult>();
  const give = (what: string) => {
    const input = Buffer.from(Buffer.from(current, 8, head[1]));
    resolve({ runs: head[0] ?? 0, seconds: 0, kept: [], violation: { input, what } });
  };
  worker.once('message', ({ violation, ...result }: ThreadResult) =>
    resolve({
      ...result,
      kept: result.kept.map((input) => Buffer.from(input)),
      violation: violation && { ...violation, input: Buffer.from(violation.input) },
    }),
  );
  worker.once('error', (error) => {
    if ('code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY') give(`it took more than ${maxHeapMiB} MiB`);
    else reject(error);
  });
  let [number, since] = [-1, 0];
  const watch = setInterval(async () => {
    const { user, system } = await worker.cpuUsage();
    const seconds = (user + system) / 1e6;
    if (head[0] !== number) [number, since] = [head[0] ?? 0, seconds];
    else if (seconds - since > hangsAfterSeconds) give(`it has not ended after ${hangsAfterSeconds} s of CPU time`);
  }, 1000);
  try {
    return await promise;
  } finally {
    clearInterval(watch);
    await worker.terminate();
  }
}
