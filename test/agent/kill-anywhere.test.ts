/**
 * Agents that are killed (SIGKILL) at named points of the loop and at any moment, and started again
 * until their workflow is done. Planned runs kill the agent of each dialect at every point. Seeded
 * runs kill at random, in orders that were not planned; only the transport differs between dialects
 * there. `KILL_RUNS=n` makes n seeded runs instead of 6, `KILL_SEED=n` others than the usual ones.
 * After a change of the loop or the journal, run it with `KILL_RUNS=1000`.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { build } from 'esbuild';
import { execa } from 'execa';
import { enrol } from '../sandbox/agent-under-test/enrol.ts';
import { Ledger } from '../sandbox/ledger.ts';
import { templateOf } from '../sandbox/tink-server/example.ts';
import {
  SERVER_DIALECTS,
  type ServerDialect,
  startTinkServer,
  type TinkServer,
} from '../sandbox/tink-server/server.ts';
import { findViolations } from './kill-anywhere/invariants.ts';
import { BAD, EXIT, type Kill, type KillableAgentSettings, POINTS } from './kill-anywhere/settings.ts';

const runs = Number(process.env['KILL_RUNS'] ?? 6);
const seed = Number(process.env['KILL_SEED'] ?? 1);

/** What happens in a run. */
interface Plan {
  readonly name: string;
  readonly dialect: ServerDialect;
  readonly actions: readonly string[];
  readonly interrupted: 'rerun' | 'fail';
  /** One for each agent; the agents after these are not killed. */
  readonly kills: readonly { readonly kill: Kill; readonly powerCut: boolean }[];
}

interface Result {
  readonly killedAt: readonly string[];
  readonly violations: readonly string[];
}

test('an agent killed anywhere runs nothing that ended again, loses and doubles no report, and reboots the machine once', {
  // Never reached: each agent has 60 s, a run has at most eleven agents, and four runs go on at
  // once.
  timeout: (30 + runs) * 180_000,
}, async (test) => {
  const { run } = await prepare(test);
  const killed = new Map<string, number>();
  const violations: string[] = [];
  let made = 0;
  const make = async (plan: Plan) => {
    const result = await run(plan);
    made += 1;
    for (const point of result.killedAt) killed.set(point, (killed.get(point) ?? 0) + 1);
    violations.push(...result.violations.map((violation) => `${plan.name}: ${violation}`));
  };
  const atRandom = Array.from({ length: runs }, (_, index) => randomPlan(seed * 1_000_000 + index));
  const planned = [...SERVER_DIALECTS.map(planForLostAcknowledgement), ...SERVER_DIALECTS.flatMap(plansForAllPoints)];
  await inLanes([...planned, ...atRandom], make);
  const kills = [...killed.values()].reduce((sum, count) => sum + count, 0);
  const points = POINTS.filter((point) => SERVER_DIALECTS.every((dialect) => killed.has(`${dialect} ${point}`)));
  test.diagnostic(
    `runs ${made}, points ${points.length} of ${POINTS.length} in each of ${SERVER_DIALECTS.length} dialects, kills ${kills}, violations ${violations.length}`,
  );
  assert.deepEqual(violations, []);
  assert.deepEqual(
    POINTS.filter((point) => !points.includes(point)),
    [],
  );
});

/** Servers, and the agent bundled to one file, which starts in a third of the time. */
async function prepare(test: TestContext): Promise<{ run(plan: Plan): Promise<Result> }> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-kill-'));
  test.after(() => rm(directory, { recursive: true }));
  const program = join(directory, 'killable-agent.cjs');
  await build({
    entryPoints: [join(import.meta.dirname, 'kill-anywhere/killable-agent.ts')],
    ...{ bundle: true, platform: 'node', format: 'cjs', target: 'node24', outfile: program, logLevel: 'error' },
  });
  const retry = { intervalSeconds: 0.01, limitSeconds: 0.03 };
  const servers = new Map<ServerDialect, TinkServer>();
  for (const dialect of SERVER_DIALECTS) {
    const server = await startTinkServer({ dialect, retry });
    test.after(() => server.stop());
    servers.set(dialect, server);
  }
  let count = 0;
  return {
    async run(plan) {
      const server = servers.get(plan.dialect);
      assert.ok(server);
      count += 1;
      const number = count;
      const machine = join(directory, `machine-${number}`);
      await mkdir(machine);
      return await perform(plan, server, machine, program, number);
    },
  };
}

async function perform(
  plan: Plan,
  server: TinkServer,
  directory: string,
  program: string,
  number: number,
): Promise<Result> {
  const { worker, workflow } = createMachine(server, plan.actions, number);
  const { dialect, interrupted } = plan;
  const ledger = new Ledger(join(directory, 'ledger'));
  const log: string[] = [];
  const finish = (failure?: string): Result => {
    const entries = ledger.entries();
    const violations = findViolations({ ...plan, ledger: entries, events: server.events(workflow) });
    if (failure !== undefined) violations.push(failure);
    if (server.panic !== undefined) violations.push(`the server died: ${server.panic}`);
    if (violations.length > 0)
      violations.push(JSON.stringify(plan.kills), ...entries.map((e) => JSON.stringify(e)), ...log);
    const killedAt = entries.flatMap((entry) => (entry.what === 'killed' ? [`${dialect} ${entry.point}`] : []));
    return { killedAt, violations };
  };
  // Each kill, a restart of the machine, and the agent that finds nothing to do.
  for (let life = 0; life < plan.kills.length + 2; life += 1) {
    const next = plan.kills[life];
    const settings: KillableAgentSettings = {
      ...{ authority: server.authority, workerId: worker.workerId, dialect, directory, interrupted, kill: next?.kill },
      tls: server.tls,
      ...(server.tls && { certificateAuthority: server.certificate.bundle }),
    };
    const agent = await execa(process.execPath, [program, JSON.stringify(settings)], {
      ...{ reject: false, all: true, timeout: 600_000, killSignal: 'SIGTERM' },
      env: { NODE_COMPILE_CACHE: join(directory, '..', 'cache') },
    });
    log.push(agent.all);
    if (agent.exitCode === EXIT.nothingToDo) return finish();
    if (agent.exitCode === EXIT.restarted) continue;
    if (agent.signal !== 'SIGKILL') return finish(`an agent ended with ${agent.exitCode ?? agent.signal}`);
    if (next?.powerCut) ledger.append({ what: 'power cut' });
  }
  return finish('the agents were never done');
}

/** A machine that no other run uses, and its workflow. */
function createMachine(server: TinkServer, actions: readonly string[], number: number) {
  const hex = number.toString(16).padStart(6, '0');
  const mac = `08:00:27:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4)}`;
  const address = `10.${number >> 16}.${(number >> 8) & 255}.${number & 255}`;
  const worker = enrol(server, { id: randomUUID(), mac, address });
  const template = server.createTemplate(`kill-${number}`, templateOf(['task', 'one', actions]));
  return { worker, workflow: server.createWorkflow(template, { one: mac }) };
}

function randomPlan(seed: number): Plan {
  const random = createRandom(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = <Item>(items: readonly [Item, ...Item[]]): Item => items[below(items.length)] ?? items[0];
  const count = 3 + below(2);
  const bad = below(4) === 0 ? below(count) : -1;
  const kill = (): Kill => {
    const kind = below(10);
    if (kind < 5) return { kind: 'passage', passage: 1 + below(30) };
    if (kind < 8) return { kind: 'point', point: POINTS[below(POINTS.length)] ?? '', occurrence: 1 };
    return { kind: 'moment', milliseconds: 20 + below(150) };
  };
  return {
    name: `seed ${seed}`,
    dialect: pick(SERVER_DIALECTS),
    actions: Array.from({ length: count }, (_, index) => (index === bad ? `${BAD}-${index}` : `good-${index}`)),
    interrupted: below(3) === 0 ? 'fail' : 'rerun',
    kills: Array.from({ length: 4 + below(6) }, () => ({ kill: kill(), powerCut: below(4) === 0 })),
  };
}

/**
 * A run whose agents are killed, one after the other, between the server's acknowledgement of the
 * last action and the record of it. Some servers do not show the workflow then.
 */
function planForLostAcknowledgement(dialect: ServerDialect): Plan {
  const actions = ['good-0', 'good-1', 'good-2'];
  const [after, before] = ['after transport.report ended', 'before journal.acknowledged'];
  const points = [
    { point: before, occurrence: actions.length },
    ...[after, before].map((point) => ({ point, occurrence: 1 })),
  ];
  const kills = points.map((point) => ({ kill: { kind: 'point', ...point }, powerCut: false }) as const);
  return { name: `lost acknowledgement of ${dialect}`, dialect, actions, interrupted: 'rerun', kills };
}

/**
 * Runs that kill at every point, several points a run: those that the loop passes at each action,
 * then one of those at the end of the workflow.
 */
function plansForAllPoints(dialect: ServerDialect): Plan[] {
  const actions = ['good-0', 'good-1', 'good-2', 'good-3'];
  const at = (point: string) => ({ kill: { kind: 'point', point, occurrence: 1 }, powerCut: false }) as const;
  const atTheEnd = POINTS.filter((point) => /finish|clearPowerAction/.test(point));
  // Only what was interrupted is resumed.
  const whenInterrupted = POINTS.filter((point) => point.endsWith('runtime.resume'));
  const atEachAction = POINTS.filter((point) => ![...atTheEnd, ...whenInterrupted].includes(point));
  const runs = atTheEnd.map((last, run) => [
    ...atEachAction.filter((_, index) => index % atTheEnd.length === run),
    last,
  ]);
  const name = `all points of ${dialect}`;
  return [
    ...runs.map((points): Plan => ({ name, dialect, actions, interrupted: 'rerun', kills: points.map(at) })),
    { name, dialect, actions, interrupted: 'fail', kills: ['container started', ...whenInterrupted].map(at) },
  ];
}

/** mulberry32, by Tommy Ettinger: 32 bits of state are plenty here. */
function createRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Four at a time: a process that starts mostly waits for others. */
async function inLanes<Item>(items: readonly Item[], handle: (item: Item) => Promise<void>): Promise<void> {
  const queue = items.values();
  const lane = async () => {
    for (const item of queue) await handle(item);
  };
  await Promise.all([lane(), lane(), lane(), lane()]);
}
