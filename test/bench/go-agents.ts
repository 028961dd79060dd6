/**
 * The agents of Go beside ours, each pair with a server of its dialect and one engine. The two
 * alternate: ten actions by one, the same ten by the other. The Go agents are built from their
 * sources with the `go` command (1.22 or newer), into build/cache.
 *
 * An action's time is that between two reports of success, without pauses: all that an agent does
 * for an action. Both poll at their default interval.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { access, mkdir, open, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { type Engine, startEngine } from '../sandbox/engine.ts';
import type { Registry } from '../sandbox/registry.ts';
import { hardwareJson, MACHINE_ONE, MACHINE_TWO } from '../sandbox/tink-server/example.ts';
import { onKubernetes, type ServerDialect, startTinkServer, type TinkServer } from '../sandbox/tink-server/server.ts';
import { cpuSecondsOf, memoryBytesOf } from './process.ts';

interface GoAgent {
  readonly dialect: ServerDialect;
  readonly version: string;
}

/** One for each dialect that has a tink-worker. */
const GO_AGENTS: readonly GoAgent[] = [
  { dialect: 'v0.1', version: 'v0.1.0' },
  { dialect: 'v0.2', version: 'v0.6.0' },
  { dialect: 'v0.7', version: 'v0.8.0' },
  { dialect: 'v0.9', version: 'v0.12.2' },
];
const MODULE = 'github.com/tinkerbell/tink';
const LEFT_OUT =
  'left out: the current tink-agent: its go.mod has replace lines, with which Go builds it only from a checkout';

const CACHE = join(import.meta.dirname, '../../build/cache/go-agents');
/** Where every tink-worker keeps the workflows' directories. */
const WORKER_DIRECTORY = '/worker';
const ACTIONS_IN_A_ROW = 10;
/** Idle after so many questions for work. */
const IDLE_POLLS = 3;

export interface GoAgentsOptions {
  readonly registry: Registry;
  /** Name of an image in the registry, without the registry. */
  readonly image: string;
  /** Scratch directory. */
  readonly directory: string;
  /** Path of our executable. */
  readonly executable: string;
  /** Actions of each agent, per dialect; rounded up to whole tens. */
  readonly actions: number;
  readonly dialects: readonly ServerDialect[];
  readonly say: (line: string) => void;
}

/** Ours, the limit, and the Go agent's. */
export interface GoAgentFigure {
  readonly metric: string;
  readonly unit: 'seconds' | 'bytes';
  readonly value: number;
  readonly limit: number | undefined;
  readonly rival: { readonly name: string; readonly value: number };
}

/** Of one agent; seconds and bytes. */
interface AgentFigures {
  /** Median. */
  readonly actionTime: number;
  /** All threads; a mean. */
  readonly actionCpu: number;
  /** CPU from the start to the third question for work. */
  readonly startCpu: number;
  readonly idleRss: number;
}

/** Prints a table, and a line for each agent that is left out. */
export async function measureGoAgents(options: GoAgentsOptions): Promise<GoAgentFigure[]> {
  const figures: GoAgentFigure[] = [];
  const { say } = options;
  // Go agents know only privileged containers.
  await using engine = await startEngine({ privileged: true });
  say('');
  say(['beside the Go agents', 'action s', 'CPU s', 'idle RSS MiB', 'start CPU s'].map(cell).join(''));
  for (const agent of GO_AGENTS.filter(({ dialect }) => options.dialects.includes(dialect))) {
    const name = `tink-worker ${agent.version}`;
    const program = await build(agent).catch((error: unknown) => {
      say(`left out: ${name}: ${whyNotBuilt(error)}`);
      return undefined;
    });
    if (program === undefined) continue;
    const [ours, theirs] = await measureBeside(agent, program, { ...options, engine });
    say(row(`${agent.dialect} ours`, ours));
    say(row(`${agent.dialect} ${name}`, theirs));
    figures.push(...compare(agent.dialect, name, ours, theirs));
  }
  say(LEFT_OUT);
  return figures;
}

/**
 * As a dependency of an empty module: `go install` refuses versions with `replace` or `exclude` in
 * their go.mod, which count only in a main module.
 * @returns path of the program.
 */
async function build({ version }: GoAgent): Promise<string> {
  const directory = join(CACHE, version);
  const program = join(directory, 'tink-worker');
  const isThere = await access(program).then(
    () => true,
    () => false,
  );
  if (isThere) return program;
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'go.mod'), `module bench\n\ngo 1.22.0\n\nrequire ${MODULE} ${version}\n`);
  const parameters = ['build', '-mod=mod', '-o', program, `${MODULE}/cmd/tink-worker`];
  await execa('go', parameters, { cwd: directory, env: { GOWORK: 'off' } });
  return program;
}

/**
 * @param error of `go build`.
 * @returns one line.
 */
export function whyNotBuilt(error: unknown): string {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 'Go is not installed';
  const output = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error);
  const lines = output.split('\n').filter((line) => line.trim() !== '' && !/^go: downloading /.test(line));
  return `go build failed: ${lines.slice(0, 3).join(' ')}`;
}

function compare(dialect: string, name: string, ours: AgentFigures, theirs: AgentFigures): GoAgentFigure[] {
  const figure = (what: string, unit: GoAgentFigure['unit'], value: number, other: number, limit?: number) => ({
    ...{ metric: `beside_go_${what}_${dialect}`, unit, value, limit },
    rival: { name, value: other },
  });
  return [
    figure('action_time', 'seconds', ours.actionTime, theirs.actionTime, theirs.actionTime),
    figure('action_cpu', 'seconds', ours.actionCpu, theirs.actionCpu),
    figure('idle_rss', 'bytes', ours.idleRss, theirs.idleRss),
    figure('start_cpu', 'seconds', ours.startCpu, theirs.startCpu),
  ];
}

/** An agent that runs, for a machine of its own. */
interface Contestant extends AsyncDisposable {
  readonly process: ChildProcess;
  readonly workerId: string;
  readonly mac: string;
}

type BenchContext = GoAgentsOptions & { readonly engine: Engine };

async function measureBeside(
  agent: GoAgent,
  program: string,
  options: BenchContext,
): Promise<[AgentFigures, AgentFigures]> {
  await using server = await startTinkServer({ dialect: agent.dialect });
  await writeFile(authorityFile(options.directory, server), server.certificate.bundle);
  await using worker = await createWorkerDirectory();
  await using ours = await startOurs(server, options);
  await using theirs = await startTheirs(program, server, options);
  const idle = [await idleFigures(server, ours), await idleFigures(server, theirs)] as const;
  const template = server.createTemplate('bench', templateOf(options.image));
  const samples = [
    { times: [] as number[], cpu: [] as number[] },
    { times: [] as number[], cpu: [] as number[] },
  ] as const;
  for (let done = 0; done < options.actions; done += ACTIONS_IN_A_ROW) {
    for (const [index, contestant] of [ours, theirs].entries()) {
      const { workflow, times, cpu } = await runWorkflow(server, template, contestant);
      worker.workflows.push(workflow);
      samples[index]?.times.push(...times);
      samples[index]?.cpu.push(cpu);
    }
  }
  const figures = (index: 0 | 1): AgentFigures => ({
    ...idle[index],
    actionTime: median(samples[index].times),
    actionCpu: mean(samples[index].cpu),
  });
  return [figures(0), figures(1)];
}

/**
 * @returns the time of each action but the first, which has the wait for the next poll in it, and
 *   the CPU for one of them.
 */
async function runWorkflow(server: TinkServer, template: string, { process, mac }: Contestant) {
  const ends: number[] = [];
  const cpu: Promise<number>[] = [];
  using _ = server.subscribe(({ progress }) => {
    if (progress !== 'SUCCESS') return;
    ends.push(performance.now() / 1000);
    cpu.push(cpuSecondsOf(process));
  });
  const workflow = server.createWorkflow(template, { one: mac });
  const events = await server.waitFor(workflow, (seen) => ends.length > ACTIONS_IN_A_ROW || seen.some(isEnd), 120);
  const failure = events.find(isEnd);
  if (failure) throw new Error(`${process.spawnfile}: ${failure.actionName} ${failure.status} ${failure.message}`);
  const times = ends.slice(1).map((end, index) => end - (ends[index] ?? Number.NaN));
  const [first = Number.NaN, last = Number.NaN] = [await cpu[0], await cpu.at(-1)];
  return { workflow, times, cpu: (last - first) / ACTIONS_IN_A_ROW };
}

/** Of the workflow, before its last action. */
function isEnd({ progress }: { readonly progress: string }): boolean {
  return progress === 'FAILED' || progress === 'TIMEOUT';
}

async function idleFigures(server: TinkServer, { process, workerId }: Contestant) {
  const { promise, resolve } = Promise.withResolvers<void>();
  let polls = 0;
  using _ = server.subscribeToCalls((rpc, request) => {
    if (!rpc.startsWith('GetWorkflowContext') || !isFrom(request, workerId)) return;
    polls += 1;
    if (polls === IDLE_POLLS) resolve();
  });
  await promise;
  return { startCpu: await cpuSecondsOf(process), idleRss: await memoryBytesOf(process, 'VmRSS') };
}

function isFrom(request: unknown, workerId: string): boolean {
  return typeof request === 'object' && request !== null && 'workerId' in request && request.workerId === workerId;
}

async function startOurs(server: TinkServer, { executable, directory, engine, registry }: BenchContext) {
  const state = join(directory, `beside-state-${server.dialect}`);
  await mkdir(state);
  const worker = join(directory, 'beside-worker');
  const machine = enrol(server, MACHINE_ONE);
  const parameters = [
    ...[`--id=${machine.workerId}`, `--grpc-server=${server.authority}`, `--docker-host=${engine.host}`],
    ...[`--state-directory=${state}`, `--work-directory=${worker}`, '--status-address=off'],
    ...[`--registry-name=${registry.host}`, `--tinkerbell-tls=${server.tls}`],
    ...(server.tls ? [`--tls-ca=${authorityFile(directory, server)}`] : []),
  ];
  const { username, password } = registry;
  const environment = {
    NIBS_KERNEL_COMMAND_LINE: '/dev/null',
    REGISTRY_USERNAME: username,
    REGISTRY_PASSWORD: password,
  };
  return start([executable, ...parameters], environment, machine, join(directory, `beside-${server.dialect}.log`));
}

/** Settings in the environment, where all versions read them. */
async function startTheirs(program: string, server: TinkServer, { directory, engine, registry }: BenchContext) {
  const machine = enrol(server, MACHINE_TWO);
  const environment = {
    DOCKER_HOST: engine.host,
    DOCKER_REGISTRY: registry.host,
    REGISTRY_USERNAME: registry.username,
    REGISTRY_PASSWORD: registry.password,
    TINKERBELL_GRPC_AUTHORITY: server.authority,
    TINKERBELL_CERT_URL: server.certificateUrl,
    TINKERBELL_TLS: String(server.tls),
    // Without a URL of certificates (v0.7 and later), Go's own variable.
    SSL_CERT_FILE: authorityFile(directory, server),
    ID: machine.workerId,
    WORKER_ID: machine.workerId,
  };
  return start([program], environment, machine, join(directory, `beside-go-${server.dialect}.log`));
}

function authorityFile(directory: string, { dialect }: TinkServer): string {
  return join(directory, `beside-authority-${dialect}.pem`);
}

/** Makes a machine known to the server. */
function enrol(server: TinkServer, machine: typeof MACHINE_ONE): Pick<Contestant, 'workerId' | 'mac'> {
  const workerId = onKubernetes(server.dialect) ? machine.mac : server.pushHardware(hardwareJson(machine));
  return { workerId, mac: machine.mac };
}

async function start(
  [program = '', ...parameters]: readonly string[],
  environment: Readonly<Record<string, string>>,
  machine: Pick<Contestant, 'workerId' | 'mac'>,
  logPath: string,
): Promise<Contestant> {
  await using log = await open(logPath, 'w');
  const child = spawn(program, parameters, {
    env: { PATH: process.env['PATH'] ?? '', ...environment },
    stdio: ['ignore', log.fd, log.fd],
  });
  const ended = once(child, 'exit');
  const fail = (code: number | null) => {
    throw new Error(`${program} ended by itself (exit code ${code}): ${readFileSync(logPath, 'utf8').slice(-2000)}`);
  };
  child.once('exit', fail);
  return {
    ...machine,
    process: child,
    async [Symbol.asyncDispose]() {
      child.off('exit', fail);
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/**
 * The Go agents need it. Removed again: the directories of these workflows, and it itself if this
 * made it and nothing else uses it.
 */
async function createWorkerDirectory(): Promise<AsyncDisposable & { readonly workflows: string[] }> {
  const made = await mkdir(WORKER_DIRECTORY, { recursive: true });
  const workflows: string[] = [];
  return {
    workflows,
    async [Symbol.asyncDispose]() {
      for (const name of workflows) await rm(join(WORKER_DIRECTORY, name), { recursive: true, force: true });
      if (made !== undefined && (await readdir(WORKER_DIRECTORY)).length === 0) await rmdir(WORKER_DIRECTORY);
    },
  };
}

function templateOf(image: string): string {
  const names = Array.from({ length: ACTIONS_IN_A_ROW + 1 }, (_, index) => `beside-${index}`);
  const actions = names.map((name) => ({ name, image, timeout: 60, command: ['true'] }));
  const task = { name: 'beside', worker: '{{.one}}', actions };
  return JSON.stringify({ version: '0.1', name: 'beside', global_timeout: 600, tasks: [task] });
}

function row(name: string, { actionTime, actionCpu, idleRss, startCpu }: AgentFigures): string {
  const texts = [actionTime.toFixed(4), actionCpu.toFixed(4), (idleRss / 2 ** 20).toFixed(1), startCpu.toFixed(2)];
  return [name, ...texts].map(cell).join('');
}

function cell(text: string, index: number): string {
  return index === 0 ? text.padEnd(28) : text.padStart(16);
}

function median(samples: readonly number[]): number {
  return samples.toSorted((a, b) => a - b)[Math.floor(samples.length / 2)] ?? Number.NaN;
}

function mean(samples: readonly number[]): number {
  return samples.reduce((sum, sample) => sum + sample, 0) / samples.length;
}
