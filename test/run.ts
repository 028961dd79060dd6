/**
 * Runs test files, four at a time:
 * `node test/run.ts [--unit | --integration | --distribution | FILE...]`.
 *
 * - `--unit`: those that need nothing but Node, which Node's permission model makes sure of.
 * - `--integration`: those that start programs of the machine, without virtual machines.
 * - `--distribution`: those of them that tell one release of Debian from another.
 * - Default: all, the unit tests last.
 *
 * The files that needed most processor time are printed at the end.
 */

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { parseArgs } from 'node:util';
import { findTestFiles, ownCode, repository, type TestFile, unitArguments } from './files.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { unit: { type: 'boolean' }, integration: { type: 'boolean' }, distribution: { type: 'boolean' } },
});

/** Node keeps compiled code there: a program of ours starts in a third of the time. */
const compileCache = join(repository, 'build/cache/compiled');

await using scratch = await makeScratch();
process.env['NODE_COMPILE_CACHE'] ??= compileCache;
process.env['PROCESSOR_TIMES'] = scratch.processorTimes;

const interrupt = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.once(name, () => {
    process.exitCode = 128 + constants.signals[name];
    interrupt.abort(new Error(`interrupted by ${name}`));
  });
}

const wallSeconds = new Map<string, number>();
if (positionals.length > 0) await runFiles(positionals);
else {
  const { unit, others } = chosen(await findTestFiles());
  await runFiles(others);
  await runFiles(unit, unitArguments);
}
await printCostliest();

interface Chosen {
  readonly unit: readonly string[];
  readonly others: readonly string[];
}

function chosen(files: readonly TestFile[]): Chosen {
  const paths = (isWanted: (file: TestFile) => boolean) => files.filter(isWanted).map(({ path }) => path);
  const integration = paths(({ layer }) => layer === 'integration');
  const unit = paths(({ layer }) => layer === 'unit');
  if (values.unit === true) return { unit, others: [] };
  if (values.integration === true) return { unit: [], others: integration };
  if (values.distribution === true) return { unit: [], others: integration.filter((path) => !ownCode.includes(path)) };
  return { unit, others: paths(({ layer }) => layer !== 'unit') };
}

/**
 * Runs test files until all have ended or this process is interrupted, which ends their processes.
 * @param paths of test files, relative to the working directory or absolute
 */
async function runFiles(paths: readonly string[], nodeArguments: readonly string[] = []): Promise<void> {
  if (paths.length === 0 || interrupt.signal.aborted) return;
  const tests = run({
    files: paths.map((path) => resolve(path)),
    signal: interrupt.signal,
    concurrency: 4, // on two processors: tests wait for engines and servers a good part of their time
    execArgv: [
      ...['force-exit.ts', 'processor-time.ts'].map((name) => `--import=${join(repository, 'test/sandbox', name)}`),
      // So that a test that hangs is named. Those that start much need minutes on a busy machine.
      '--test-timeout=1800000',
      ...nodeArguments,
    ],
  });
  tests.on('test:fail', () => {
    process.exitCode ??= 1;
  });
  tests.on('test:summary', ({ file, duration_ms }) => {
    if (file !== undefined) wallSeconds.set(file, duration_ms / 1000);
  });
  for await (const text of tests.compose(spec)) process.stdout.write(text);
}

async function makeScratch(): Promise<{ readonly processorTimes: string } & AsyncDisposable> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-test-run-'));
  return {
    processorTimes: join(directory, 'processor-times'),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}

/** Empty: no process of a test has exited by itself. */
async function readProcessorTimes(): Promise<string> {
  return await readFile(scratch.processorTimes, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
}

async function printCostliest(): Promise<void> {
  const processorSeconds = new Map<string, number>();
  for (const [, seconds = '', path = ''] of (await readProcessorTimes()).matchAll(/^(\S+) (.*)$/gm))
    processorSeconds.set(path, (processorSeconds.get(path) ?? 0) + Number(seconds));
  const total = [...processorSeconds.values()].reduce((sum, seconds) => sum + seconds, 0);
  process.stdout.write(`\nprocessor time ${total.toFixed(0)} s; costliest files (processor time, time)\n`);
  for (const [file, seconds] of [...processorSeconds].sort(([, a], [, b]) => b - a).slice(0, 40)) {
    const columns = [seconds, wallSeconds.get(file) ?? 0].map((value) => `${value.toFixed(1).padStart(7)} s`);
    process.stdout.write(`${columns.join('')}  ${relative(repository, file)}\n`);
  }
}
