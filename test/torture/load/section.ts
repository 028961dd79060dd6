/**
 * Section `load`: many workers, many actions, much output. Settings are environment variables:
 *
 * - `PART`: only the cases with that in their names, `spread`, `actions/docker`. Default: all.
 * - `WORKERS`: how many of `spread` and `workers`. Default: 1,000.
 * - `ACTIONS`: how many of `actions`. Default: 500.
 * - `OUTPUT_MB`: how much of `output`, in 10^6 bytes. Default: 1,000.
 * - `LINE_MB`: the length of the lines of `lines`, in 10^6 bytes. Default: 100.
 * - `SEED`: decides the waits of `spread`. Default: 1.
 */
import { z } from 'zod';
import type { ServerDialect } from '../../sandbox/tink-server/server.ts';
import { print, printTable, type Row, settingsFrom } from '../section.ts';
import { runActions } from './actions.ts';
import { type FloodResult, maxGrowthBytes, runFlood } from './flood.ts';
import { linesOf } from './lines.ts';
import { outputOf } from './output.ts';
import { type EngineKind, engineKinds } from './program.ts';
import { measureSpread } from './spread.ts';
import { runWorkers } from './workers.ts';

interface Case {
  readonly name: string;
  readonly runs: number;
  /** Prints its figures; returns its violations. */
  readonly run: () => Promise<readonly string[]>;
}

const actionsEach = 10;
const outagesSeconds = [5, 60, 600];

export async function runLoad(): Promise<readonly Row[]> {
  const settings = settingsFrom({
    PART: z.string().default(''),
    WORKERS: z.coerce.number().int().positive().default(1000),
    ACTIONS: z.coerce.number().int().min(10).default(500),
    OUTPUT_MB: z.coerce.number().int().positive().default(1000),
    LINE_MB: z.coerce.number().int().positive().default(100),
    SEED: z.coerce.number().int().default(1),
  });
  const { PART: part, WORKERS: workers, ACTIONS: actions, SEED: seed } = settings;
  const [outputBytes, lineBytes] = [settings.OUTPUT_MB * 1e6, settings.LINE_MB * 1e6];
  const all: readonly Case[] = [
    { name: 'spread', runs: workers, run: () => spread(workers, seed) },
    { name: 'workers', runs: workers, run: () => manyWorkers(workers) },
    ...actionCases.map(([engine, dialect]) => ({
      ...{ name: `actions/${engine}/${dialect}`, runs: actions },
      run: () => manyActions(engine, dialect, actions),
    })),
    ...engineKinds.map((engine) => ({
      ...{ name: `output/${engine}`, runs: 1 },
      run: async () => printFlood(await runFlood(engine, outputOf(outputBytes)), outputBytes),
    })),
    ...engineKinds.map((engine) => ({
      ...{ name: `lines/${engine}`, runs: 4 },
      run: async () => printFlood(await runFlood(engine, linesOf(lineBytes)), 4 * lineBytes),
    })),
  ];
  const chosen = all.filter(({ name }) => name.includes(part));
  if (chosen.length === 0) throw new Error(`no part ${part}; there are ${all.map(({ name }) => name).join(', ')}`);
  const rows: Row[] = [];
  for (const { name, runs, run } of chosen) {
    print(`${name}:`);
    const begin = performance.now();
    const violations = await run();
    for (const violation of violations.slice(0, 10)) print(`violation: ${violation}`);
    const seconds = ((performance.now() - begin) / 1000).toFixed(0);
    print(`${name}: ${runs} runs, ${violations.length} violations, seed ${seed}, ${seconds} s`);
    rows.push({ section: `load:${name}`, runs, violations: violations.length, seed });
  }
  return rows;
}

/** Each kind of protocol, and the other engine. */
const actionCases: readonly (readonly [EngineKind, ServerDialect])[] = [
  ['docker', 'v0.1'],
  ['docker', 'v0.9'],
  ['docker', 'current'],
  ['containerd', 'v0.9'],
];

async function spread(workers: number, seed: number): Promise<readonly string[]> {
  const result = await measureSpread({ workers, seed, outagesSeconds, actions: actionsEach });
  const columns = ['phase', 'virtual s', 'requests', 'a second', 'busiest second', 'busiest/mean'];
  const ofReturn = ['workers back in the busiest second', 'in the busiest 0.1 s', 'the last after s'];
  printTable([
    [...columns, ...ofReturn],
    ...result.phases.map(({ name, seconds, requests, mean, max, back }) => [
      ...[name, seconds.toFixed(0), requests, mean.toFixed(0), max, (max / mean).toFixed(1)],
      ...(back === undefined ? [] : [back.inSecond, back.inTenth, back.lastSeconds.toFixed(1)]),
    ]),
  ]);
  print(`${workers} workers, ${workers * actionsEach * 2} reports expected, ${result.reports} recorded`);
  return result.violations;
}

async function manyWorkers(workers: number): Promise<readonly string[]> {
  const result = await runWorkers({ workers, actions: actionsEach, awaySeconds: 5 });
  const { work, reports, cpuSeconds, maxRssBytes, openFiles } = result;
  printTable([
    ['s', 'requests', 'a second', 'busiest second', 'CPU ms a request', 'CPU', 'memory MiB', 'open files'],
    [
      ...[work.seconds.toFixed(0), work.requests, work.mean.toFixed(0), work.max],
      ...[((cpuSeconds / work.requests) * 1000).toFixed(2), `${((cpuSeconds / work.seconds) * 100).toFixed(0)} %`],
      ...[mebibytes(maxRssBytes), openFiles],
    ],
  ]);
  print(`${workers} workers, ${workers * actionsEach * 2} reports expected, ${reports} recorded`);
  return result.violations;
}

async function manyActions(engine: EngineKind, dialect: ServerDialect, actions: number): Promise<readonly string[]> {
  const { seconds, cpuSeconds, maxRssBytes, violations } = await runActions({ engine, dialect, actions });
  const line = (name: string, { mean, first, last, slope, uncertainty }: typeof seconds) => [
    ...[name, ...[mean, first, last].map((value) => (value * 1000).toFixed(0))],
    `${(slope * 1000).toFixed(3)} ± ${(uncertainty * 1000).toFixed(3)}`,
  ];
  printTable([
    ['ms an action', 'mean', 'first tenth', 'last tenth', 'from one to the next'],
    line('time', seconds),
    line('CPU of the agent', cpuSeconds),
  ]);
  print(`memory of the agent: at most ${mebibytes(maxRssBytes)} MiB`);
  return violations;
}

function printFlood(result: FloodResult, bytes: number): readonly string[] {
  const { seconds, cpuSeconds, beforeBytes, halfwayBytes, peakBytes, violations } = result;
  printTable([
    ['MB', 's', 'MB/s', 'CPU s of the agent', 'MiB before', 'most in the 1st half', 'most in all', 'growth', 'limit'],
    [
      ...[(bytes / 1e6).toFixed(0), seconds.toFixed(0), (bytes / 1e6 / seconds).toFixed(1), cpuSeconds.toFixed(1)],
      ...[beforeBytes, halfwayBytes, peakBytes, peakBytes - beforeBytes, maxGrowthBytes].map(mebibytes),
    ],
  ]);
  return violations;
}

function mebibytes(bytes: number): string {
  return (bytes / 1024 ** 2).toFixed(0);
}
