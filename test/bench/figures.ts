/**
 * Runs the demo and the benchmarks, and writes their figures into docs/figures.json,
 * docs/figures.md and docs/figures/.
 *
 *     node test/bench/figures.ts [--only demo,executable,agent,install,decompress] \
 *       [-- arguments of the benchmark]
 *     node test/bench/figures.ts --page     # writes only page and plots, from docs/figures.json
 *
 * Parts that are not run keep the figures of the run before, with its commit. What was built must
 * be there (`make figures` builds it); needs root.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempDisposableSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findAcceleration } from '../sandbox/acceleration.ts';
import { type Figures, figuresPage, type Run, readDemo, readFigures, readRows } from './figures-page.ts';
import { plots } from './plots.ts';

const root = join(import.meta.dirname, '../..');
const [dataPath, pagePath] = [join(root, 'docs/figures.json'), join(root, 'docs/figures.md')];
const plotsPath = join(root, 'docs/figures');
const PARTS = ['executable', 'demo', 'agent', 'install', 'decompress'] as const;
type Part = (typeof PARTS)[number];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string', default: PARTS.join() }, page: { type: 'boolean', default: false } },
});

const wanted = values.only.split(',');
const unknown = wanted.filter((name) => !PARTS.some((part) => part === name));
if (unknown.length > 0) throw new Error(`no such part: ${unknown.join(', ')}; choose from ${PARTS.join(', ')}`);

let figures = readFigures(readFileSync(dataPath, 'utf8'));
for (const part of values.page ? [] : PARTS.filter((name) => wanted.includes(name))) {
  figures = { ...figures, ...(await measure(part)) };
  // After each part: what was measured is kept when a later one fails.
  writeFileSync(dataPath, `${JSON.stringify(figures, undefined, 2)}\n`);
}
writeFileSync(pagePath, figuresPage(figures));
for (const [name, svg] of plots(figures)) writeFileSync(join(plotsPath, name), svg);

async function measure(part: Part): Promise<Figures> {
  const run = await describeRun();
  using directory = mkdtempDisposableSync(join(tmpdir(), 'nibs-figures-'));
  const json = join(directory.path, 'figures.json');
  const script = part === 'demo' ? 'test/e2e/demo.ts' : `test/bench/${part}.ts`;
  process.stdout.write(`\n${script}\n`);
  const { status, signal } = spawnSync(process.execPath, [join(root, script), ...positionals], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, [part === 'demo' ? 'DEMO_JSON' : 'BENCH_JSON']: json },
  });
  if (status !== 0) throw new Error(`${script} ended with ${signal ?? `exit code ${status}`}`);
  const text = readFileSync(json, 'utf8');
  if (part !== 'demo') return { [part]: { ...run, rows: readRows(text) } };
  const { phases, sizes } = readDemo(text);
  return { phases: { ...run, phases }, sizes: { ...run, sizes } };
}

async function describeRun(): Promise<Run> {
  const git = (...command: string[]) => spawnSync('git', command, { cwd: root, encoding: 'utf8' }).stdout.trim();
  const load = loadavg()[0] ?? Number.NaN;
  const machine = `${cpus().length} cores, ${(await findAcceleration()) === 'kvm' ? 'KVM' : 'no KVM'}`;
  // The parts before this one have changed the page itself.
  const status = git('status', '--porcelain', '--untracked-files=no', '--', '.', ':!docs/figures*');
  const changed = status === '' ? '' : ' with changes';
  return {
    commit: `${git('rev-parse', '--short', 'HEAD')}${changed}`,
    host: `${machine}, load ${load.toFixed(1)} before the run`,
  };
}
