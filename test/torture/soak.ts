/**
 * Section `soak`: agents as programs, a real engine and a real registry, against servers that
 * restart all the time. The heap of each agent after a collection of garbage must not grow, and
 * between two heap snapshots there must be no kind of object of which one is left for each workflow
 * or restart of a server, or for two of them. Settings are environment variables:
 *
 * - `SOAK_MINUTES`: how long. Default: 60.
 * - `SEED`: decides when servers restart. Default: 1.
 */
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { AgentProcess } from '../sandbox/agent-under-test/agent-process.ts';
import { enrol } from '../sandbox/agent-under-test/enrol.ts';
import { type SharedEngine, startSharedEngine } from '../sandbox/agent-under-test/shared-engine.ts';
import { MACHINE_ONE, templateOf } from '../sandbox/tink-server/example.ts';
import { type ServerDialect, startTinkServer, type TinkServer } from '../sandbox/tink-server/server.ts';
import { startAgentProgram } from './agent-program.ts';
import { randomOf } from './chance.ts';
import { Gate } from './gate.ts';
import { growthBetween, readHeapSnapshot } from './heap-snapshot.ts';
import { regressionOf } from './regression.ts';
import { print, printTable, type Row, settingsFrom } from './section.ts';

/** One of each kind of protocol: a stream with TLS, Kubernetes, and the current one. */
const dialects: readonly ServerDialect[] = ['v0.1', 'v0.9', 'current'];
const sampleSeconds = 20;
/** What is filled once, such as code that was compiled, is no growth. */
const warmUp = 0.25;
const allowedBytesPerHour = 1024 ** 2;
/** The journal keeps the results of as many workflows: before that, something is left of each. */
const settledWorkflows = 200;
/** A workflow may meet some restarts; one that meets as many makes no progress. */
const stuckRestarts = 60;
/**
 * A real current server refuses a report on a deleted workflow after a minute. Those of this
 * section restart more often than that, and the agent would ask again without end.
 */
const retry = { intervalSeconds: 0.2, limitSeconds: 1 };

const sampleSchema = z.object({ heapUsed: z.number(), rss: z.number() });
const snapshotSchema = z.object({ snapshot: z.string() });

interface Soaked {
  readonly dialect: ServerDialect;
  readonly server: TinkServer;
  readonly agent: AgentProcess;
  readonly samples: { readonly hours: number; readonly heapUsed: number; readonly rss: number }[];
  readonly snapshots: Snapshot[];
  /** Of workflows and restarts. */
  readonly gate: Gate;
  workflows: number;
  restarts: number;
  /** Since the end of the last workflow. */
  restartsInVain: number;
  readonly violations: string[];
}

/** A heap snapshot in a file, and what had happened until then. */
interface Snapshot {
  readonly path: string;
  readonly workflows: number;
  readonly restarts: number;
}

export async function runSoak(): Promise<readonly Row[]> {
  const { SOAK_MINUTES: minutes, SEED: seed } = settingsFrom({
    SOAK_MINUTES: z.coerce.number().positive().default(60),
    SEED: z.coerce.number().int().default(1),
  });
  const directory = await mkdtemp(join(tmpdir(), 'nibs-soak-'));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(directory, { recursive: true }));
  const shared = stack.use(await startSharedEngine());
  const begin = performance.now();
  const stop = AbortSignal.timeout(minutes * 60_000);
  const all = await Promise.all(dialects.map((dialect, index) => prepare(dialect, index, directory, shared, stack)));
  const random = randomOf(seed);
  await Promise.all(
    all.flatMap((soaked) => [
      giveWork(soaked, stop),
      restartAgainAndAgain(soaked, random, stop),
      watchHeap(soaked, begin, minutes, stop),
    ]),
  );
  for (const soaked of all) await compareSnapshots(soaked);
  return report(all, seed, minutes);
}

async function prepare(
  dialect: ServerDialect,
  index: number,
  parent: string,
  shared: SharedEngine,
  stack: AsyncDisposableStack,
): Promise<Soaked> {
  const directory = join(parent, dialect);
  await mkdir(directory);
  const server = stack.use(await startTinkServer({ dialect, retry }));
  const worker = enrol(server, { ...MACHINE_ONE, id: crypto.randomUUID(), mac: `08:00:27:00:01:0${index}` });
  const agent = stack.use(
    await startAgentProgram({
      ...{ directory, worker, engine: shared.engine.host, registry: shared.registry, isQuiet: true },
      nodeOptions: ['--expose-gc', '--import', join(import.meta.dirname, 'report-heap.ts')],
      flags: ['--retry-interval=200ms', '--backoff-max-interval=2s'],
      environment: { HEAP_SNAPSHOTS: directory },
    }),
  );
  return {
    dialect,
    server,
    agent,
    samples: [],
    snapshots: [],
    gate: new Gate(2),
    workflows: 0,
    restarts: 0,
    restartsInVain: 0,
    violations: [],
  };
}

/** One workflow after another; a current server looks at the first one only. */
async function giveWork(soaked: Soaked, stop: AbortSignal): Promise<void> {
  const { server, dialect } = soaked;
  const names = ['one', 'two', 'three'];
  const machine = `08:00:27:00:01:0${dialects.indexOf(dialect)}`;
  for (;;) {
    await soaked.gate.pass();
    if (stop.aborted) return soaked.gate.leave();
    const template = server.createTemplate('soak', templateOf(['task', 'one', names]));
    const workflow = server.createWorkflow(template, { one: machine });
    const expected = names.flatMap((name) => [`${name} RUNNING`, `${name} SUCCESS`]);
    const seen = await server.waitFor(
      workflow,
      (events) => events.length >= expected.length || events.some(({ progress }) => progress === 'FAILED'),
      Number.POSITIVE_INFINITY,
      // The last one is given the time that it needs.
      AbortSignal.timeout(24 * 3600_000),
    );
    const recorded = seen.map(({ actionName, progress }) => `${actionName} ${progress}`).join();
    if (recorded !== expected.join()) soaked.violations.push(`${dialect}: the server has recorded ${recorded}`);
    soaked.workflows += 1;
    soaked.restartsInVain = 0;
    server.deleteWorkflow(workflow);
  }
}

async function restartAgainAndAgain(soaked: Soaked, random: () => number, stop: AbortSignal): Promise<void> {
  for (;;) {
    await sleep(1000 * (2 + random() * 20), undefined, { signal: stop }).catch(() => {});
    await soaked.gate.pass();
    if (stop.aborted) return soaked.gate.leave();
    await soaked.server.stop();
    await sleep(random() * 3000);
    await soaked.server.start();
    soaked.restarts += 1;
    soaked.restartsInVain += 1;
    if (soaked.restartsInVain === stuckRestarts)
      soaked.violations.push(`${soaked.dialect}: no workflow ended in ${stuckRestarts} restarts`);
  }
}

/** Takes samples, and a snapshot once what is filled once is full, and at the end. */
async function watchHeap(soaked: Soaked, begin: number, minutes: number, stop: AbortSignal): Promise<void> {
  const { agent, samples, snapshots, violations, dialect } = soaked;
  const hours = () => (performance.now() - begin) / 3600_000;
  while (agent.process.exitCode === null) {
    await sleep(sampleSeconds * 1000, undefined, { signal: stop }).catch(() => {});
    const isWarm = hours() * 60 >= minutes * warmUp && soaked.workflows > settledWorkflows;
    if ((isWarm && snapshots.length === 0) || (stop.aborted && snapshots.length === 1)) {
      const snapshot = await takeSnapshot(soaked);
      if (snapshot !== undefined) snapshots.push(snapshot);
    }
    if (stop.aborted) return;
    const sample = await ask(agent, 'SIGUSR2', sampleSchema);
    if (sample === undefined) continue;
    samples.push({ hours: hours(), ...sample });
    print(
      `${dialect}: ${soaked.workflows} workflows, ${soaked.restarts} restarts, ${megabytes(sample.heapUsed)} MiB of heap`,
    );
  }
  violations.push(`the agent ended: ${agent.output.at(-1)}`);
}

/** Of an agent at rest: else it would differ by what an action and an outage need. */
async function takeSnapshot({ agent, server, gate, workflows, restarts }: Soaked): Promise<Snapshot | undefined> {
  using _ = await gate.close();
  const exited = once(agent.process, 'exit');
  await Promise.race([calls(server, 20), exited]);
  const taken = await ask(agent, 'SIGWINCH', snapshotSchema);
  return taken && { path: taken.snapshot, workflows, restarts };
}

/** Resolves after so many calls. */
async function calls(server: TinkServer, count: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let left = count;
  using _ = server.subscribeToCalls(() => {
    left -= 1;
    if (left === 0) resolve();
  });
  await promise;
}

/**
 * Sends a signal that `report-heap.ts` answers.
 *
 * @returns `undefined`: the agent has ended
 */
async function ask<Answer>(
  { process: child, output }: AgentProcess,
  signal: NodeJS.Signals,
  schema: z.ZodType<Answer>,
): Promise<Answer | undefined> {
  const { stderr } = child;
  if (stderr === null) throw new Error('the agent has no standard error');
  const exited = once(child, 'exit');
  let next = output.length;
  child.kill(signal);
  for (;;) {
    for (; next < output.length; next++) {
      const line = output[next] ?? '';
      const { success, data } = schema.safeParse(line.startsWith('{') ? JSON.parse(line) : undefined);
      if (success) return data;
    }
    if (child.exitCode !== null || child.signalCode !== null) return undefined;
    await Promise.race([once(stderr, 'data'), exited]);
  }
}

/**
 * Prints which objects there are more of, and finds those of which one is left each time, or each
 * second time. Then the snapshots are kept: the memory tab of Chrome's developer tools shows them.
 */
async function compareSnapshots({ dialect, snapshots, violations }: Soaked): Promise<void> {
  const [first, last] = snapshots;
  if (first === undefined || last === undefined)
    return print(`${dialect}: too short for two heap snapshots; more than ${settledWorkflows} workflows come before`);
  const grown = growthBetween(await readHeapSnapshot(first.path), await readHeapSnapshot(last.path));
  const [workflows, restarts] = [last.workflows - first.workflows, last.restarts - first.restarts];
  print(`${dialect}: between two heap snapshots, ${workflows} workflows and ${restarts} restarts apart, grew most:`);
  for (const { kind, count, bytes } of grown.slice(0, 6)) print(`  ${kind}: ${count} more, ${bytes} bytes`);
  const limit = Math.ceil(Math.min(workflows, restarts) / 2);
  // How many strings there are depends on the moment; numbers and arrays belong to objects.
  const limitOf = (kind: string) =>
    kind === 'string' ? workflows : /^(?:object|closure|native) /.test(kind) ? limit : Number.POSITIVE_INFINITY;
  for (const { kind, count } of grown) {
    if (count >= limitOf(kind)) violations.push(`${dialect}: ${count} more of ${kind} after ${workflows} workflows`);
  }
  if (violations.length === 0) return;
  const kept = await mkdtemp(join(tmpdir(), `nibs-heap-${dialect}-`));
  for (const { path } of snapshots) await copyFile(path, join(kept, basename(path)));
  print(`${dialect}: the snapshots are kept in ${kept}`);
}

function report(all: readonly Soaked[], seed: number, minutes: number): readonly Row[] {
  const table: (string | number)[][] = [];
  const rows: Row[] = [];
  for (const { dialect, samples, workflows, restarts, violations } of all) {
    const points = samples.slice(Math.floor(samples.length * warmUp)).map(({ hours, heapUsed }) => [hours, heapUsed]);
    const { slope, error } = regressionOf(points as [number, number][]);
    if (slope - 2 * error > allowedBytesPerHour) violations.push(`${dialect}: the heap grows`);
    const [first, last] = [points[0]?.[1] ?? 0, points.at(-1)?.[1] ?? 0];
    const line = `${megabytes(slope)} ± ${megabytes(2 * error)}`;
    const rss = Math.max(...samples.map((sample) => sample.rss));
    table.push([dialect, workflows, restarts, samples.length, megabytes(first), megabytes(last), line, megabytes(rss)]);
    rows.push({ section: `soak:${dialect}`, runs: workflows, violations: violations.length, seed });
  }
  print(`${minutes} minutes; heap after a collection of garbage, in MiB; the line is that of the last three quarters`);
  const columns = ['server', 'workflows', 'restarts', 'samples', 'heap at first', 'at last', 'MiB/h', 'most resident'];
  printTable([columns, ...table]);
  for (const { violations } of all) for (const violation of violations) print(`violation: ${violation}`);
  return rows;
}

function megabytes(bytes: number): string {
  return (bytes / 1024 ** 2).toFixed(2);
}
