/**
 * What the agent costs: the built executable with a fake server and a private engine. Its actions
 * alternate with `docker run` of the same container.
 *
 *     node test/bench/agent.ts [--quick] [--actions 40] [--dialects v0.1,v0.2,v0.7,v0.9,current]
 *         [--idle-seconds 30] [--polls 4000] [--flood-megabytes 300]
 *         [--executable build/tink-agent]
 *
 * `--quick`: two dialects, and little of the rest, to notice that something is badly wrong.
 *
 * The time of an action is all that the agent does for one: from the poll to the report of its end,
 * and the removal of its container. While a `docker run` is measured, the server holds the poll
 * back, and that time does not count. CPU is user and system time of all threads of the agent,
 * against that of the command `docker`; the engine's is in neither. The agent has its default poll
 * interval, at which it also asks whether a running action is cancelled.
 *
 * The end of an action is the engine's event `die`. With BENCH_JSON=path the figures are also
 * written there as rows.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { containerSpec } from '../../agent/runtime/container-spec.ts';
import { withAcceptedCapabilities } from '../../agent/runtime/docker/accepted-capabilities.ts';
import { createOptions } from '../../agent/runtime/docker/create-options.ts';
import { startAgentProcess } from '../sandbox/agent-under-test/agent-process.ts';
import { enrol } from '../sandbox/agent-under-test/enrol.ts';
import { waitForPolls } from '../sandbox/agent-under-test/wait-for-polls.ts';
import { busyboxImage } from '../sandbox/busybox-image.ts';
import { startEngine } from '../sandbox/engine.ts';
import { type Registry, startRegistry } from '../sandbox/registry.ts';
import { MACHINE_ONE } from '../sandbox/tink-server/example.ts';
import {
  SERVER_DIALECTS,
  type ServerDialect,
  startTinkServer,
  type TinkServer,
} from '../sandbox/tink-server/server.ts';
import { measureGoAgents } from './go-agents.ts';
import { childrensCpuSeconds, cpuSecondsOf, memoryBytesOf } from './process.ts';

const isQuick = process.argv.includes('--quick');
const { values } = parseArgs({
  options: {
    quick: { type: 'boolean' },
    actions: { type: 'string', default: isQuick ? '12' : '40' },
    dialects: { type: 'string', default: isQuick ? 'v0.1,current' : SERVER_DIALECTS.join() },
    'idle-seconds': { type: 'string', default: isQuick ? '5' : '30' },
    polls: { type: 'string', default: isQuick ? '500' : '4000' },
    'flood-megabytes': { type: 'string', default: isQuick ? '50' : '300' },
    executable: { type: 'string', default: join(import.meta.dirname, '../../build/tink-agent') },
  },
});
const executable = resolve(values.executable);
/** CPU for an action, in seconds. */
const ACTION_CPU_LIMIT = 0.03;
const dialects = SERVER_DIALECTS.filter((dialect) => values.dialects.split(',').includes(dialect));

/** Of one dialect; times in seconds, medians. */
interface ActionFigures {
  readonly dialect: ServerDialect;
  readonly ours: number;
  readonly dockerRun: number;
  readonly dockerRunPull: number;
  readonly endToReport: number;
  /** CPU of the agent for an action, all threads; a mean. */
  readonly cpu: number;
  /** CPU of the command `docker` for a `docker run`; a mean. */
  readonly dockerRunCpu: number;
}

interface Figure {
  readonly metric: string;
  readonly unit: 'seconds' | 'bytes' | 'share';
  readonly value: number;
  readonly limit: number | undefined;
  /** The same of `docker run`, where it has that. */
  readonly rival?: { readonly name: string; readonly value: number };
}

await using directory = await mkdtempDisposable(join(tmpdir(), 'bench-agent-'));
await using engine = await startEngine();
await using registry = await startRegistry();
const image = await registry.push('busybox', await busyboxImage());
/** Of `docker run`; set by {@link prepareDockerCommand}. */
let flags: readonly string[] = [];
await prepareDockerCommand(registry);

say(`load before: ${load()}`);
const figures: Figure[] = [];
const perDialect: ActionFigures[] = [];
for (const dialect of dialects) {
  perDialect.push(await measureActions(dialect, Number(values.actions)));
  say(row(perDialect.at(-1)));
}
for (const { dialect, ours, dockerRun, endToReport, cpu, dockerRunCpu } of perDialect) {
  const rival = { name: 'docker run', value: dockerRun };
  figures.push({ metric: `action_time_${dialect}`, unit: 'seconds', value: ours, limit: undefined, rival });
  const limit = dockerRun / 4;
  figures.push({ metric: `action_overhead_${dialect}`, unit: 'seconds', value: ours - dockerRun, limit, rival });
  figures.push({
    ...{ metric: `action_cpu_${dialect}`, unit: 'seconds', value: cpu, limit: ACTION_CPU_LIMIT },
    rival: { name: 'docker run', value: dockerRunCpu },
  });
  figures.push({ metric: `end_to_report_${dialect}`, unit: 'seconds', value: endToReport, limit: 0.02 });
}
const worst = perDialect.toSorted((a, b) => b.ours / b.dockerRun - a.ours / a.dockerRun)[0];
if (worst === undefined) throw new Error(`choose from the dialects ${SERVER_DIALECTS.join(', ')}`);
const rival = { name: 'docker run', value: worst.dockerRun };
const limit = worst.dockerRun / 4;
figures.push({ metric: 'action_overhead', unit: 'seconds', value: worst.ours - worst.dockerRun, limit, rival });
const { cpu: mostCpu, dockerRunCpu } = perDialect.toSorted((a, b) => b.cpu - a.cpu)[0] ?? worst;
figures.push({
  ...{ metric: 'action_cpu', unit: 'seconds', value: mostCpu, limit: ACTION_CPU_LIMIT },
  rival: { name: 'docker run', value: dockerRunCpu },
});
figures.push(...(await measureIdle(Number(values['idle-seconds']))));
figures.push(...(await measurePolls(Number(values.polls))));
figures.push(...(await measureFlood(Number(values['flood-megabytes']))));
const beside = { registry, image: 'busybox', directory: directory.path, executable, dialects, say };
figures.push(...(await measureGoAgents({ ...beside, actions: Number(values.actions) })));
await report();

/** A workflow of actions that do nothing, with a `docker run` before each. */
async function measureActions(dialect: ServerDialect, count: number): Promise<ActionFigures> {
  await using fixture = await openFixture(dialect);
  const ours: number[] = [];
  const dockerRun: number[] = [];
  const dockerRunPull: number[] = [];
  const dockerRunCpu: number[] = [];
  const endToReport: number[] = [];
  /** CPU of the agent at the end of each action. */
  const cpu: Promise<number>[] = [];
  await using ends = await watchEnds();
  let begunAt = performance.now();
  /** End of the action before a `docker run`: its container is removed after the report. */
  let endedAt: number | undefined;
  let sinceEnd = 0;
  using _ = fixture.server.subscribe(({ progress }) => {
    if (progress !== 'SUCCESS') return;
    endedAt = performance.now();
    ours.push((endedAt - begunAt) / 1000 + sinceEnd);
    endToReport.push(Date.now() / 1000);
    cpu.push(cpuSecondsOf(agent.process));
  });
  fixture.server.interfere = () => {
    if (endedAt === undefined || ours.length >= count) return undefined;
    sinceEnd = (performance.now() - endedAt) / 1000;
    endedAt = undefined;
    const measureDockerRun = async () => {
      const cpuBefore = await childrensCpuSeconds();
      dockerRun.push(await timed(() => runDocker('missing', ['true'])));
      dockerRunCpu.push((await childrensCpuSeconds()) - cpuBefore);
      dockerRunPull.push(await timed(() => runDocker('always', ['true'])));
      begunAt = performance.now();
    };
    return { kind: 'hold', until: measureDockerRun() };
  };
  const workflow = fixture.createWorkflow(Array.from({ length: count }, () => ['true']));
  await using agent = await fixture.startAgent([]);
  await fixture.server.waitFor(workflow, (events) => events.filter(isSuccess).length === count, 60 + count * 5);
  const reports = endToReport.map((at, index) => at - (ends.times[index] ?? Number.NaN));
  // The first one has the start of the agent and the pull in it.
  return {
    dialect,
    ours: median(ours.slice(1)),
    dockerRun: median(dockerRun),
    dockerRunPull: median(dockerRunPull),
    endToReport: median(reports.slice(1)),
    cpu: (((await cpu.at(-1)) ?? Number.NaN) - ((await cpu[0]) ?? Number.NaN)) / (count - 1),
    dockerRunCpu: dockerRunCpu.reduce((sum, one) => sum + one, 0) / dockerRunCpu.length,
  };
}

/** With the agent's own interval between two polls. */
async function measureIdle(seconds: number): Promise<Figure[]> {
  await using fixture = await openFixture('v0.1');
  await using agent = await fixture.startAgent([]);
  await waitForPolls(fixture.server, 3);
  const residentBytes = await memoryBytesOf(agent.process, 'VmRSS');
  const [cpuBefore, before] = [await cpuSecondsOf(agent.process), performance.now()];
  await delay(seconds * 1000);
  const share = (await cpuSecondsOf(agent.process)) - cpuBefore;
  const client = await dockerRunPeak(['true']);
  return [
    { metric: 'start_cpu', unit: 'seconds', value: cpuBefore, limit: undefined },
    { metric: 'idle_cpu', unit: 'share', value: (share * 1000) / (performance.now() - before), limit: 0.002 },
    {
      ...{ metric: 'idle_rss', unit: 'bytes', value: residentBytes, limit: 70 * 2 ** 20 },
      rival: { name: 'docker run', value: client },
    },
  ];
}

/** Memory before, between and after so many idle polls; as many as fit into five minutes. */
async function measurePolls(count: number): Promise<Figure[]> {
  await using fixture = await openFixture('v0.1');
  await using agent = await fixture.startAgent(['--poll-interval=1ms']);
  await waitForPolls(fixture.server, 3);
  const figures: Figure[] = [];
  for (let made = 0, part = 0; part < 3; part++) {
    if (part > 0) made += await waitForPolls(fixture.server, Math.ceil(count / 2), 150);
    const value = await memoryBytesOf(agent.process, 'VmRSS');
    figures.push({ metric: `idle_rss_after_${made}_polls`, unit: 'bytes', value, limit: 90 * 2 ** 20 });
  }
  return figures;
}

/** An action that prints that much, in lines of 200 characters, to the agent's log. */
async function measureFlood(megabytes: number): Promise<Figure[]> {
  await using fixture = await openFixture('v0.1');
  const script = `yes ${'x'.repeat(199)} | head -n ${megabytes * 5000}`;
  await using agent = await fixture.startAgent();
  await waitForPolls(fixture.server, 3);
  const before = await memoryBytesOf(agent.process, 'VmRSS');
  const startedAt = performance.now();
  const workflow = fixture.createWorkflow([['sh', '-c', script]]);
  await fixture.server.waitFor(workflow, (events) => events.some(isSuccess), 60 + megabytes);
  const seconds = (performance.now() - startedAt) / 1000;
  return [
    { metric: 'flood_rss_before', unit: 'bytes', value: before, limit: undefined },
    {
      ...{
        metric: 'flood_rss_peak',
        unit: 'bytes',
        value: await memoryBytesOf(agent.process, 'VmHWM'),
        limit: undefined,
      },
      rival: { name: 'docker run', value: await dockerRunPeak(['sh', '-c', script]) },
    },
    { metric: 'flood_time', unit: 'seconds', value: seconds, limit: undefined },
  ];
}

/** A server with one machine. */
interface Fixture extends AsyncDisposable {
  readonly server: TinkServer;
  createWorkflow(commands: readonly (readonly string[])[]): string;
  /** @param flags default: no pause between two polls that would count */
  startAgent(flags?: readonly string[]): Promise<{ readonly process: ChildProcess } & AsyncDisposable>;
}

async function openFixture(dialect: ServerDialect): Promise<Fixture> {
  const server = await startTinkServer({ dialect, retry: { intervalSeconds: 0.01, limitSeconds: 0.02 } });
  const { workerId } = enrol(server);
  const authorityFile = join(directory.path, 'authority.pem');
  await writeFile(authorityFile, server.certificate.bundle);
  const trust = server.tls ? [`--tls-ca=${authorityFile}`] : ['--tinkerbell-tls=false'];
  const state = join(directory.path, `state-${dialect}-${crypto.randomUUID()}`);
  await mkdir(state);
  return {
    server,
    createWorkflow(commands) {
      const template = server.createTemplate('bench', templateOf(commands));
      return server.createWorkflow(template, { one: MACHINE_ONE.mac });
    },
    async startAgent(flags = ['--poll-interval=10ms']) {
      const settings = [`--id=${workerId}`, `--grpc-server=${server.authority}`, `--docker-host=${engine.host}`];
      const directories = [`--state-directory=${state}`, `--work-directory=${join(directory.path, 'worker')}`];
      const status = `--status-address=127.0.0.1:${await freePort()}`;
      const rest = ['--privileged=false', status, `--registry-name=${registry.host}`];
      const agent = startAgentProcess({
        command: [executable],
        flags: [...settings, ...directories, ...rest, ...trust, ...flags],
        environment: { REGISTRY_USERNAME: registry.username, REGISTRY_PASSWORD: registry.password },
        read: (stdout) => stdout.resume(),
      });
      const fail = (code: number | null) => {
        throw new Error(`the agent ended by itself (exit code ${code}): ${agent.output.join('\n')}`);
      };
      agent.process.once('exit', fail);
      return {
        process: agent.process,
        async [Symbol.asyncDispose]() {
          agent.process.off('exit', fail);
          await agent.end('SIGTERM');
        },
      };
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

/** Images are named in full: with servers up to v0.12 as with current ones. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  if (address === null || typeof address === 'string') throw new Error('there is no free port');
  return address.port;
}

function templateOf(commands: readonly (readonly string[])[]): string {
  const actions = commands.map((command, index) => ({ name: `a${index}`, image, timeout: 1800, command }));
  const task = { name: 'bench', worker: '{{.one}}', actions };
  return JSON.stringify({ version: '0.1', name: 'bench', global_timeout: 7200, tasks: [task] });
}

function isSuccess({ progress }: { readonly progress: string }): boolean {
  return progress === 'SUCCESS';
}

/** The times (seconds) at which the agent's containers ended, by the engine's events. */
async function watchEnds(): Promise<{ readonly times: readonly number[] } & AsyncDisposable> {
  const filters = JSON.stringify({ type: ['container'], event: ['die'], label: ['nibs.role=action'] });
  const stream = await engine.docker.getEvents({ filters });
  if (!(stream instanceof Readable)) throw new Error('the engine sends no events');
  const times: number[] = [];
  const lines = createInterface({ input: stream }).on('line', (line) => {
    const { timeNano }: { timeNano: number } = JSON.parse(line);
    times.push(timeNano / 1e9);
  });
  return {
    times,
    async [Symbol.asyncDispose]() {
      lines.close();
      stream.destroy();
    },
  };
}

/** The client finds the registry's credentials where `docker login` leaves them. */
async function prepareDockerCommand({ host, username, password }: Registry): Promise<void> {
  const auth = Buffer.from(`${username}:${password}`).toString('base64');
  await writeFile(join(directory.path, 'config.json'), JSON.stringify({ auths: { [host]: { auth } } }));
  await mkdir(join(directory.path, 'worker/bench'), { recursive: true });
  await execa('docker', ['pull', '--quiet', image], { env: dockerEnvironment(), stdout: 'ignore' });
  flags = await dockerFlags();
  await runDocker('missing', ['true']);
}

function dockerEnvironment(): Readonly<Record<string, string>> {
  return { DOCKER_HOST: engine.host, DOCKER_CONFIG: directory.path };
}

async function runDocker(pull: 'always' | 'missing', command: readonly string[], wrapper: readonly string[] = []) {
  const [program = '', ...parameters] = [...wrapper, 'docker', 'run', '--rm', '--quiet', `--pull=${pull}`];
  return await execa(program, [...parameters, ...flags, image, ...command], {
    env: dockerEnvironment(),
    stdout: 'ignore',
  });
}

/**
 * The options of `docker run` for the container that the agent makes for an action. Which
 * capabilities the engine refuses to drop is asked once, when it has the image.
 */
async function dockerFlags(): Promise<string[]> {
  const action = {
    ...{ workflowId: 'bench', taskName: 'bench', name: 'bench', id: 'bench', workerId: 'bench', image },
    ...{ registryPrefix: 'always' as const, sharesDirectory: true },
    ...{ command: [], environment: [], volumes: [], onTimeout: [], onFailure: [] },
    ...{ timeoutSeconds: undefined, pidMode: undefined, networkMode: undefined },
  };
  const spec = containerSpec(action, {
    ...{ role: 'action', image, command: [], network: 'host', privileges: 'all-available' },
    workflowDirectory: join(directory.path, 'worker/bench'),
  });
  const { HostConfig: wanted = {} } = await createOptions(spec, 'json-file');
  const host = await withAcceptedCapabilities(wanted, new Set(), async (accepted) => {
    const container = await engine.docker.createContainer({ Image: image, HostConfig: accepted });
    await container.remove();
    return accepted;
  });
  return [
    ...(host.Binds ?? []).map((bind) => `--volume=${bind}`),
    ...(host.CapAdd ?? []).map((capability: string) => `--cap-add=${capability}`),
    ...(host.CapDrop ?? []).map((capability: string) => `--cap-drop=${capability}`),
    ...(host.SecurityOpt ?? []).map((option: string) => `--security-opt=${option}`),
    ...(host.DeviceCgroupRules ?? []).map((rule) => `--device-cgroup-rule=${rule}`),
    ...(host.Mounts ?? []).map(({ Source, Target }) => `--mount=type=bind,source=${Source},target=${Target}`),
    ...Object.entries(host.LogConfig?.Config ?? {}).map(([name, value]) => `--log-opt=${name}=${value}`),
    ...['--security-opt=systempaths=unconfined', '--log-driver=json-file', '--network=host'],
  ];
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return (performance.now() - startedAt) / 1000;
}

/** Most memory (bytes) that the client of a `docker run` ever had. */
async function dockerRunPeak(command: readonly string[]): Promise<number> {
  const { stderr } = await runDocker('missing', command, ['/usr/bin/time', '-f', '%M']);
  return Number(stderr.split('\n').at(-1)) * 1024;
}

function median(samples: readonly number[]): number {
  return samples.toSorted((a, b) => a - b)[Math.floor(samples.length / 2)] ?? Number.NaN;
}

async function report(): Promise<void> {
  say('');
  const titles = ['ours s', 'docker run s', 'with --pull', 'overhead s', 'end to report s', 'CPU s', "docker's CPU s"];
  say(['', ...titles].map(cell).join(''));
  for (const one of perDialect) say(row(one));
  say('');
  say(['', 'ours', 'at most', 'docker run'].map(cell).join(''));
  for (const { metric, unit, value, limit, rival: other } of figures) {
    if (/_(?:v0|current)/.test(metric)) continue;
    const mark = limit !== undefined && value > limit ? '  MISSED' : '';
    say([metric, ...[value, limit, other?.value].map((one) => print(one, unit))].map(cell).join('') + mark);
  }
  say(`load after: ${load()}`);
  const path = process.env['BENCH_JSON'];
  const rows = figures.map(({ metric, unit, value, limit, rival: other }) => {
    const against = other ?? { name: limit === undefined ? 'none' : 'limit', value: limit ?? value };
    const ratio = value / against.value;
    return { bench: 'agent', metric, unit, ours: value, rival: against.name, rivalValue: against.value, ratio };
  });
  if (path) await writeFile(path, JSON.stringify(rows, undefined, 2));
}

function row(one: ActionFigures | undefined): string {
  if (one === undefined) return '';
  const { dialect, ours, dockerRun, dockerRunPull, endToReport, cpu, dockerRunCpu } = one;
  const times = [ours, dockerRun, dockerRunPull, ours - dockerRun, endToReport, cpu, dockerRunCpu];
  return [dialect, ...times.map((time) => time.toFixed(4))].map(cell).join('');
}

function cell(text: string, index: number): string {
  return index === 0 ? text.padEnd(28) : text.padStart(16);
}

function print(value: number | undefined, unit: Figure['unit']): string {
  if (value === undefined) return '';
  if (unit === 'bytes') return `${(value / 2 ** 20).toFixed(1)} MiB`;
  return unit === 'share' ? `${(value * 100).toFixed(2)} %` : `${value.toFixed(4)} s`;
}

function load(): string {
  return loadavg()
    .map((average) => average.toFixed(2))
    .join(' ');
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
