/**
 * Runs test files, four at a time: `node test/run.ts [--unit | --elsewhere | FILE...]`.
 *
 * `--unit`: those that need nothing but Node, which Node's permission model makes sure of.
 * `--elsewhere`: those that start programs of the machine, without virtual machines and without the costliest, for another release of Debian.
 * Default: all.
 *
 * The files that took longest are printed at the end.
 */

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { parseArgs } from 'node:util';
import { findTestFiles, longFiles, repository, unitArguments } from './files.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { unit: { type: 'boolean' }, elsewhere: { type: 'boolean' } },
});

/** Node keeps compiled code there: a program of ours starts in a third of the time. */
const compileCache = join(repository, 'build/cache/compiled');

await using scratch = await makeScratch();
process.env['NODE_COMPILE_CACHE'] ??= compileCache;
process.env['PROCESSOR_TIMES'] = scratch.processorTimes;

const files = positionals.length > 0 ? positionals.map((path) => resolve(path)) : await chosenFiles();
const wallSeconds = new Map<string, number>();
const tests = run({
  files,
  concurrency: 4, // on two processors: tests wait for engines and servers a good part of their time
  execArgv: [
    ...['force-exit.ts', 'processor-time.ts'].map((name) => `--import=${join(repository, 'test/sandbox', name)}`),
    '--test-timeout=480000',
    ...(values.unit === true ? unitArguments : []),
  ],
});
tests.on('test:fail', () => {
  process.exitCode = 1;
});
tests.on('test:summary', ({ file, duration_ms }) => {
  if (file !== undefined) wallSeconds.set(file, duration_ms / 1000);
});
for await (const text of tests.compose(spec)) process.stdout.write(text);
await printLongest();

async function chosenFiles(): Promise<string[]> {
  const all = await findTestFiles();
  const isCostly = (path: string) => longFiles.some((file) => file.path === path && file.elsewhere === false);
  const chosen = all.filter(({ path, layer }) => {
    if (values.unit === true) return layer === 'unit';
    if (values.elsewhere === true) return layer === 'integration' && !isCostly(path);
    return true;
  });
  return chosen.map(({ path }) => join(repository, path));
}

async function makeScratch(): Promise<{ readonly processorTimes: string } & AsyncDisposable> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-test-run-'));
  return {
    processorTimes: join(directory, 'processor-times'),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}

async function printLongest(): Promise<void> {
  const lines = (await readFile(scratch.processorTimes, 'utf8')).trim().split('\n');
  const processorSeconds = new Map<string, number>();
  for (const line of lines) {
    const [, seconds = '', path = ''] = /^(\S+) (.*)$/.exec(line) ?? [];
    processorSeconds.set(path, (processorSeconds.get(path) ?? 0) + Number(seconds));
  }
  const total = [...processorSeconds.values()].reduce((sum, seconds) => sum + seconds, 0);
  process.stdout.write(`\nprocessor time ${total.toFixed(0)} s; longest files (time, processor time)\n`);
  for (const [file, seconds] of [...wallSeconds].sort(([, a], [, b]) => b - a).slice(0, 25)) {
    const columns = [seconds, processorSeconds.get(file) ?? 0].map((value) => `${value.toFixed(1).padStart(7)} s`);
    process.stdout.write(`${columns.join('')}  ${relative(repository, file)}\n`);
  }
}
