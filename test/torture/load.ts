/**
 * Section `load`: many workers against one server. Real: the loop, the journal, the transport, gRPC
 * over sockets; the workers are in this process, and their actions end at once. The server restarts
 * in the middle: its requests in each second after that must not be a herd. Settings are
 * environment variables:
 *
 * - `WORKERS`: how many. Default: 1,000.
 * - `SEED`: kept in the row; the moments are those of the machine. Default: 1.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { AgentMachine } from '../sandbox/agent-under-test/agent-machine.ts';
import { enrol } from '../sandbox/agent-under-test/enrol.ts';
import { pollUntil } from '../sandbox/poll-until.ts';
import { MACHINE_ONE, templateOf } from '../sandbox/tink-server/example.ts';
import { startTinkServer } from '../sandbox/tink-server/server.ts';
import { print, printTable, type Row, settingsFrom } from './section.ts';

const names = Array.from({ length: 10 }, (_, index) => `action-${index}`);
const pollSeconds = 3;
const awaySeconds = 5;
const limitSeconds = 3600;

interface Call {
  readonly atSeconds: number;
}

export async function runLoad(): Promise<readonly Row[]> {
  const { WORKERS: count, SEED: seed } = settingsFrom({
    WORKERS: z.coerce.number().int().positive().default(1000),
    SEED: z.coerce.number().int().default(1),
  });
  await using stack = new AsyncDisposableStack();
  // As in the boot image: the journals of a thousand machines are not on one disk.
  const directory = await mkdtemp('/dev/shm/nibs-load-');
  stack.defer(() => rm(directory, { recursive: true }));
  const server = stack.use(await startTinkServer({ dialect: 'v0.9' }));
  const calls: Call[] = [];
  const begin = performance.now();
  const now = () => (performance.now() - begin) / 1000;
  stack.use(server.subscribeToCalls(() => calls.push({ atSeconds: now() })));
  const macs = Array.from({ length: count }, (_, index) => {
    const hex = index.toString(16).padStart(4, '0');
    return `08:00:27:01:${hex.slice(0, 2)}:${hex.slice(2)}`;
  });
  const machines = macs.map((mac) => {
    const worker = enrol(server, { ...MACHINE_ONE, mac });
    return stack.use(
      AgentMachine.forServer(worker, { directory: join(directory, mac), pollSeconds, maxBackoffSeconds: 15 }),
    );
  });
  await Promise.all(machines.map((machine) => machine.start()));
  await pollUntil(() => calls.length >= count, 'a poll of each worker', limitSeconds);
  const idle = spreadOf(calls, await pass(now, 4 * pollSeconds));
  await server.stop();
  await sleep(awaySeconds * 1000);
  await server.start();
  const afterRestart = spreadOf(calls, await pass(now, 4 * pollSeconds));

  const template = server.createTemplate('load', templateOf(['task', 'one', names]));
  const workflows = macs.map((mac) => server.createWorkflow(template, { one: mac }));
  const total = count * names.length * 2;
  const recorded = () => workflows.reduce((sum, id) => sum + server.events(id).length, 0);
  const workedFrom = now();
  await untilOr(() => recorded() >= total / 2, limitSeconds);
  await server.restart();
  await untilOr(() => recorded() >= total, limitSeconds);
  const work = spreadOf(calls, [workedFrom, now()]);

  const expected = names.flatMap((name) => [`${name} RUNNING`, `${name} SUCCESS`]).join();
  const wrong = workflows.filter(
    (id) =>
      server
        .events(id)
        .map(({ actionName, progress }) => `${actionName} ${progress}`)
        .join() !== expected,
  );
  for (const id of wrong.slice(0, 10))
    print(
      `violation: ${id}: ${server
        .events(id)
        .map(({ progress }) => progress)
        .join()}`,
    );
  const herd = afterRestart.max > 3 * Math.max(afterRestart.mean, idle.max);
  if (herd) print('violation: the workers come back as a herd');
  printTable([
    ['requests', 'seconds', 'a second (mean)', 'a second (max)', 'max/mean'],
    ...[idle, afterRestart, work].map(({ seconds, mean, max }, index) => [
      ['idle', 'after a restart', 'ten actions each'][index] ?? '',
      seconds.toFixed(0),
      mean.toFixed(0),
      max,
      (max / mean).toFixed(1),
    ]),
  ]);
  print(`${count} workers, ${total} reports expected, ${recorded()} recorded, ${wrong.length} workflows wrong`);
  return [{ section: 'load', runs: count, violations: wrong.length + (herd ? 1 : 0), seed }];
}

/** Lets some seconds pass; returns when they began and ended. */
async function pass(now: () => number, seconds: number): Promise<readonly [number, number]> {
  const from = now();
  await sleep(seconds * 1000);
  return [from, now()];
}

async function untilOr(condition: () => boolean, limit: number): Promise<void> {
  for (const end = performance.now() + limit * 1000; !condition() && performance.now() < end; ) await sleep(500);
}

function spreadOf(calls: readonly Call[], [from, to]: readonly [number, number]) {
  const seconds = Math.ceil(to - from);
  const histogram = new Array<number>(seconds).fill(0);
  for (const { atSeconds } of calls) {
    const index = Math.floor(atSeconds - from);
    if (index >= 0 && index < seconds) histogram[index] = (histogram[index] ?? 0) + 1;
  }
  const sum = histogram.reduce((total, value) => total + value, 0);
  return { seconds: to - from, mean: sum / seconds, max: Math.max(...histogram) };
}
