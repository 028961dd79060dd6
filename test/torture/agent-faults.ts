/**
 * Section `agent-faults`: the agent as a program, a real engine and a real registry; a toxic proxy
 * on each leg (agent to server, agent to engine, engine to registry), and servers of all protocol
 * versions. Each cell is a fault on a leg: it begins at an event of the workflow that the seed
 * chooses, lasts for some seconds, and goes away. Settings are environment variables:
 *
 * - `SEED`: decides when faults begin and how long they last. Default: 1.
 * - `FAULT`: only cells whose name contains this, for example `server/reset`.
 */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { AgentProcess } from '../sandbox/agent-under-test/agent-process.ts';
import { enrol } from '../sandbox/agent-under-test/enrol.ts';
import { type SharedEngine, startSharedEngine } from '../sandbox/agent-under-test/shared-engine.ts';
import { busyboxImage } from '../sandbox/busybox-image.ts';
import { createCertificateAuthority } from '../sandbox/certificates.ts';
import { loopbackAddress } from '../sandbox/loopback-address.ts';
import { patienceSeconds } from '../sandbox/patience.ts';
import { MACHINE_ONE } from '../sandbox/tink-server/example.ts';
import {
  onKubernetes,
  SERVER_DIALECTS,
  type ServerDialect,
  startTinkServer,
  type TinkEvent,
  type TinkServer,
} from '../sandbox/tink-server/server.ts';
import { startToxicProxy, TOXIC_FAULTS, type ToxicFault, type ToxicProxy } from '../sandbox/toxic-proxy.ts';
import { startAgentProgram } from './agent-program.ts';
import { randomOf } from './chance.ts';
import { print, printTable, type Row, settingsFrom } from './section.ts';

type CellFault = ToxicFault | 'expired' | 'certificate change' | 'clock + 1 day' | 'clock - 1 day';
type Leg = 'server' | 'engine' | 'registry' | 'machine';

export interface Cell {
  readonly leg: Leg;
  readonly fault: CellFault;
  readonly dialect: ServerDialect;
}

export interface CellResult {
  readonly cell: Cell;
  readonly seconds: number;
  /** What the agent logged as wrong. */
  readonly troubles: readonly string[];
  /** All that is wrong with what happened; empty: nothing. */
  readonly violations: readonly string[];
}

const names = ['one', 'two', 'three'] as const;
const cellsAtOnce = 6;

/** Every fault on every leg where it can happen. */
export function cells(): readonly Cell[] {
  const hasTls = (dialect: ServerDialect) => dialect !== 'v0.9' && dialect !== 'current';
  const onServer = SERVER_DIALECTS.flatMap((dialect) =>
    [
      ...TOXIC_FAULTS.filter((fault) => fault !== 'plaintext' || hasTls(dialect)),
      ...(hasTls(dialect) ? (['expired', 'certificate change'] as const) : []),
    ].map((fault): Cell => ({ leg: 'server', fault, dialect })),
  );
  const rest = (['engine', 'registry'] as const).flatMap((leg) =>
    TOXIC_FAULTS.filter((fault) => fault !== 'plaintext' || leg === 'registry').map(
      (fault, index): Cell => ({ leg, fault, dialect: SERVER_DIALECTS[index % SERVER_DIALECTS.length] ?? 'v0.1' }),
    ),
  );
  const clock = SERVER_DIALECTS.flatMap((dialect) =>
    (['clock + 1 day', 'clock - 1 day'] as const).map((fault): Cell => ({ leg: 'machine', fault, dialect })),
  );
  return [...onServer, ...rest, ...clock];
}

export function nameOf({ leg, fault, dialect }: Cell): string {
  return `${leg}/${fault}/${dialect}`;
}

export async function runAgentFaults(): Promise<readonly Row[]> {
  const { SEED: seed, FAULT: only } = settingsFrom({
    SEED: z.coerce.number().int().default(1),
    FAULT: z.string().default(''),
  });
  const chosen = cells().filter((cell) => nameOf(cell).includes(only));
  const begin = performance.now();
  const results = await runCells(chosen, seed, ({ cell, seconds, violations }) => {
    print(`${nameOf(cell)}: ${seconds.toFixed(0)} s, ${violations.length === 0 ? 'ok' : violations.join('; ')}`);
  });
  const faults = [...new Set(chosen.map(({ leg, fault }) => `${leg}: ${fault}`))];
  const table = faults.map((name) => {
    const own = results.filter(({ cell }) => `${cell.leg}: ${cell.fault}` === name);
    const longest = Math.max(...own.map(({ seconds }) => seconds)).toFixed(0);
    const logged = own.filter(({ troubles }) => troubles.length > 0).length;
    return [name, own.length, longest, logged, own.filter(({ violations }) => violations.length > 0).length] as const;
  });
  printTable([['fault', 'runs', 'longest s', 'agent logged it', 'violations'], ...table]);
  const violations = results.filter((result) => result.violations.length > 0).length;
  print(
    `${faults.length} faults, ${results.length} runs, ${violations} with violations, seed ${seed}, ${((performance.now() - begin) / 1000).toFixed(0)} s`,
  );
  return table.map(([name, runs, , , failed]) => ({ section: `agent-faults:${name}`, runs, violations: failed, seed }));
}

/** Runs cells, several at once: they mostly wait. */
export async function runCells(
  chosen: readonly Cell[],
  seed: number,
  onResult: (result: CellResult) => void = () => {},
): Promise<readonly CellResult[]> {
  await using shared = await startSharedEngine();
  const results: CellResult[] = [];
  const left = chosen.entries();
  const lane = async () => {
    for (const [index, cell] of left) {
      const result = await runCell(cell, index, seed, shared);
      results.push(result);
      onResult(result);
    }
  };
  await Promise.all(Array.from({ length: cellsAtOnce }, lane));
  return results;
}

async function runCell(cell: Cell, index: number, seed: number, shared: SharedEngine): Promise<CellResult> {
  const random = randomOf(seed * 1000 + cells().findIndex((other) => nameOf(other) === nameOf(cell)));
  const directory = await mkdtemp(join(tmpdir(), 'nibs-fault-'));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  await mkdir(join(directory, 'shared'));
  // The agent knows the server by the address of the proxy.
  const [address, proxyAddress] = [loopbackAddress(), loopbackAddress()];
  const certified = [address, proxyAddress, 'localhost'] as const;
  const server = stack.use(await startTinkServer({ dialect: cell.dialect, address, names: certified }));
  const machine = {
    ...MACHINE_ONE,
    id: crypto.randomUUID(),
    mac: `08:00:27:00:02:${index.toString(16).padStart(2, '0')}`,
  };
  const worker = enrol(server, machine);
  const [host = '', port = ''] = server.authority.split(':');
  const [registryHost = '', registryPort = ''] = shared.registry.host.split(':');
  const proxies = {
    server: stack.use(await startToxicProxy({ host, port: Number(port) }, { address: proxyAddress })),
    engine: stack.use(
      await startToxicProxy({ path: shared.engine.socketPath }, { path: join(directory, 'engine.sock') }),
    ),
    registry: stack.use(await startToxicProxy({ host: registryHost, port: Number(registryPort) })),
  };
  // An image of its own, so that it is pulled.
  await shared.registry.push(`cell-${index}`, await busyboxImage({}, { 'bin/cell': `${seed} ${index}` }));
  const isClock = cell.leg === 'machine';
  const agent = stack.use(
    await startAgentProgram({
      directory,
      worker: { ...worker, authority: proxies.server.authority },
      engine: `unix://${proxies.engine.authority}`,
      registry: { ...shared.registry, host: proxies.registry.authority },
      nodeOptions: isClock ? ['--import', join(import.meta.dirname, 'shift-clock.ts')] : [],
      flags: ['--retry-interval=200ms', '--backoff-max-interval=1s', ...tlsFlags(cell)],
      environment: { CLOCK_JUMP_SECONDS: cell.fault === 'clock - 1 day' ? '-86400' : '86400' },
    }),
  );
  const template = server.createTemplate('faults', templateOf(directory, index));
  const workflow = server.createWorkflow(template, { one: machine.mac });
  const begin = performance.now();
  const violations: string[] = [];
  const ended = server.waitFor(workflow, isOver).then(
    (events) => events,
    () => {
      violations.push(`the workflow has not ended after ${patienceSeconds} s: ${agent.output.at(-1)}`);
      return server.events(workflow);
    },
  );
  await server.waitFor(workflow, (events) => events.length >= Math.floor(random() * 5));
  await provoke(cell, certified, server, proxies, agent, 1 + random() * 4);
  const events = await ended;
  const seconds = (performance.now() - begin) / 1000;
  violations.push(...(await check(cell, events, directory, agent, server)));
  const troubles = agent.output.filter((line) => / (WARN|ERROR) /.test(line));
  if (violations.length > 0) violations.push(...agent.output.slice(-15));
  return { cell, seconds, troubles, violations };
}

function tlsFlags({ fault }: Cell): readonly string[] {
  return fault === 'certificate change' ? ['--certificate-change=accept'] : [];
}

function templateOf(directory: string, index: number): string {
  const actions = names.map((name) => ({
    name,
    image: `cell-${index}`,
    timeout: 300,
    command: ['sh', '-c', `echo ${name} >> /shared/done; sleep 1`],
  }));
  const volumes = [`${join(directory, 'shared')}:/shared`];
  const task = { name: 'task', worker: '{{.one}}', volumes, actions };
  return JSON.stringify({ version: '0.1', name: 'faults', global_timeout: 100_000, tasks: [task] });
}

function isOver(events: readonly TinkEvent[]): boolean {
  const last = events.at(-1);
  return last?.progress === 'FAILED' || last?.progress === 'TIMEOUT' || events.length >= 2 * names.length;
}

async function provoke(
  { leg, fault }: Cell,
  certified: readonly [string, ...string[]],
  server: TinkServer,
  proxies: Readonly<Record<'server' | 'engine' | 'registry', ToxicProxy>>,
  agent: AgentProcess,
  seconds: number,
): Promise<void> {
  if (leg === 'machine') {
    // Before that the signal would end the process.
    await agent.logged(/the agent starts/);
    agent.process.kill('SIGUSR2');
    await sleep(seconds * 1000);
    agent.process.kill('SIGUSR2');
    return;
  }
  if (fault === 'expired' || fault === 'certificate change') {
    const before = server.certificate;
    const authority = await createCertificateAuthority('another');
    const expired = { validFrom: new Date(Date.now() - 864e5), validUntil: new Date(Date.now() - 1000) };
    const leaf = await authority.issue(certified, fault === 'expired' ? expired : {});
    await server.changeCertificate({ ...leaf, bundle: leaf.certificate + authority.certificate });
    await sleep(seconds * 1000);
    await server.changeCertificate(before);
    return;
  }
  const proxy = proxies[leg];
  proxy.setFault(fault as ToxicFault);
  await sleep(seconds * 1000);
  proxy.setFault(undefined);
}

async function check(
  { leg, dialect }: Cell,
  events: readonly TinkEvent[],
  directory: string,
  agent: AgentProcess,
  server: TinkServer,
): Promise<readonly string[]> {
  const violations: string[] = [];
  const recorded = events.map(({ actionName, progress }) => `${actionName} ${progress}`).join();
  const succeeded = names.flatMap((name) => [`${name} RUNNING`, `${name} SUCCESS`]);
  const last = events.at(-1);
  if (last?.progress === 'FAILED') {
    // An engine or a registry that answers with nonsense may fail an action, with its reason.
    const expected = [...succeeded.slice(0, events.length - 1), `${last.actionName} FAILED`].join();
    if (leg === 'server' || leg === 'machine' || recorded !== expected)
      violations.push(`the server has recorded ${recorded}: ${last.message}`);
    if (!onKubernetes(dialect) && !/could not be run: .+/.test(last.message))
      violations.push(`the failure has no reason: ${last.message}`);
  } else if (recorded !== succeeded.join()) violations.push(`the server has recorded ${recorded}`);
  const done = (await readFile(join(directory, 'shared', 'done'), 'utf8').catch(() => '')).split('\n').slice(0, -1);
  if (done.some((name, index) => done.indexOf(name) !== index)) violations.push(`run twice: ${done.join()}`);
  if (server.panic !== undefined) violations.push(`the server died: ${server.panic}`);
  if (agent.process.exitCode !== null) violations.push(`the agent ended with ${agent.process.exitCode}`);
  const internal = agent.output.find((line) => /internal error|the agent failed|^\s+at .*:\d+:\d+/.test(line));
  if (internal !== undefined) violations.push(`an internal error: ${internal}`);
  return violations;
}
