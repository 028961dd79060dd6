import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import type { Clock } from '../clock/clock.ts';
import { systemClock } from '../clock/system.ts';
import { createProxyRules } from '../net/proxy.ts';
import type { LoopEvent } from './action/observe.ts';
import { type AgentParts, runAgent } from './agent.ts';
import { createInventory, takeInventory } from './hardware/hardware.ts';
import { type Journal, JournalError, openJournal } from './journal.ts';
import { createRedactor, looksSecret, type Redactor } from './log/redact.ts';
import { type Outlets, openOutlets } from './outlets.ts';
import type { KexecOptions } from './power/kexec.ts';
import { createPower, type Power, PowerError } from './power/power.ts';
import type { ContainerRuntimeOptions } from './runtime/container-runtime.ts';
import type { RegistryCredentials } from './runtime/credentials.ts';
import type { OnRuntimeEvent, RuntimeEvent } from './runtime/event.ts';
import type { Runtime } from './runtime/runtime.ts';
import { workflowDirectory } from './runtime/workflow-directory.ts';
import { ArgumentError, helpText, parseArguments } from './settings/arguments.ts';
import {
  type CompleteConfig,
  ConfigError,
  describeConfig,
  type FileConfig,
  type LoadedConfig,
  loadConfig,
  type NatsConfig,
  type ServerConfig,
  serverOf,
} from './settings/config.ts';
import type { Config } from './settings/settings.ts';
import { readTlsFiles } from './settings/tls-files.ts';
import { RegistryAccounts } from './settings/values.ts';
import { TemplateError } from './template/problem.ts';
import type { FileTransport } from './transport/file/file.ts';
import type { Transport } from './transport/transport.ts';

/**
 * The agent as a program: reads its configuration, then works until SIGTERM or SIGINT. Only a template from a file comes to an end by itself.
 *
 * @param argv flags, without the names of the interpreter and the program
 * @param name the program's name in `--help`
 * @returns exit code: 0 after a signal or a question for help, 1 when the state directory cannot be used, 2 when the configuration or a template
 * cannot; of a template from a file 0 when all its actions succeeded, else 1
 */
export async function main(
  argv: readonly string[],
  name: 'tink-agent' | 'tink-worker',
  clock: Clock = systemClock,
): Promise<number> {
  try {
    const given = parseArguments(argv);
    if (given.help) return print(helpText(name));
    const loaded = await loadConfig(given, process.env);
    if (given.printConfig) return print(describeConfig(loaded));
    const code = await work(loaded, clock);
    // What nobody has read by now would keep the process from ending for as long as nobody reads it.
    if (process.stdout.writableLength + process.stderr.writableLength > 0) process.exit(code);
    return code;
  } catch (error) {
    const code = exitCodeOf(error);
    if (code === undefined || !(error instanceof Error)) throw error;
    for (const line of error.message.split('\n')) process.stderr.write(`${name}: ${line}\n`);
    return code;
  }
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

/** `undefined`: not a failure that is foreseen. */
function exitCodeOf(error: unknown): number | undefined {
  if (error instanceof ArgumentError || error instanceof ConfigError || error instanceof TemplateError) return 2;
  return error instanceof JournalError ? 1 : undefined;
}

type Output = typeof process.stdout | typeof process.stderr;

/** What the agent has, wherever its work comes from. */
type Tools = Pick<AgentParts, 'runtime' | 'log' | 'redactor' | 'observe'> & { readonly clock: Clock };

async function work({ config, warnings }: LoadedConfig, clock: Clock): Promise<number> {
  keepMemorySmall();
  exportProxies(config);
  const redactor = createRedactor();
  for (const secret of secretsOf(config)) redactor.learn(secret);
  // Of a template that is run from a file, standard output has the results.
  const stream = config.transport === 'file' ? process.stderr : process.stdout;
  const format = formatOf(config, stream);
  await using outlets = await openOutlets(config, { clock, format, redactor, stream });
  using stop = stopOnSignal();
  const { log } = outlets;
  for (const warning of warnings) log.warn(warning);
  const tidyUp = createTidying();
  const pace = createPace();
  const observe = (event: LoopEvent) => {
    pace.observe(event);
    tidyUp(event);
    outlets.observe(event);
  };
  const onRuntimeEvent = (event: RuntimeEvent) => {
    pace.observeRuntime(event);
    return outlets.onRuntimeEvent(event);
  };
  const runtime = await createRuntime(config, onRuntimeEvent, redactor, clock);
  const tools = { runtime, log, redactor, observe, clock };
  if (config.transport === 'file') return await workFromFile(config, tools, stop.signal);
  await workForServer(config, tools, outlets, stop.signal);
  return 0;
}

async function workForServer(
  config: ServerConfig | NatsConfig,
  tools: Tools,
  outlets: Outlets,
  signal: AbortSignal,
): Promise<void> {
  const { log } = tools;
  await using journal = await openJournal(config.stateDirectory, (message) => log.error(message), tools.clock);
  await using transport = await createTransport(config, tools, outlets, journal);
  log.info({ worker: config.workerId, server: serverOf(config), process: process.pid }, 'the agent starts');
  const power = createPower({
    ...config,
    clock: tools.clock,
    kexec: kexecOf(config),
    warn: (message) => log.warn(message),
  });
  await runAgent({ ...config, ...tools, transport, journal, power }, signal);
}

function kexecOf({
  kexecCommand,
  kexecKernel,
  kexecDevice,
  kexecFsType,
  kexecInitrd,
  kexecCmdline,
}: Config): KexecOptions {
  const rest = { device: kexecDevice, filesystem: kexecFsType, initrd: kexecInitrd, commandLine: kexecCmdline };
  return { command: kexecCommand, kernel: kexecKernel === undefined ? undefined : { kernel: kexecKernel, ...rest } };
}

/** Runs a template to its end and returns the exit code. The journal of the machine's own agent is left alone, and so is the machine's power. */
async function workFromFile(config: FileConfig, tools: Tools, signal: AbortSignal): Promise<number> {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-'));
  await using journal = await openJournal(directory.path, (message) => tools.log.error(message), tools.clock);
  await using transport = await createFileTransport(config, tools);
  const end = new AbortController();
  const ended = transport.ended.then((verdict) => {
    end.abort(new Error(`the workflow has ended: ${verdict}`));
    return verdict;
  });
  const parts = { ...config, ...tools, transport, journal, power: noPower, finish: 'none' as const };
  await runAgent(parts, AbortSignal.any([signal, end.signal]));
  return end.signal.aborted && (await ended) === 'SUCCESS' ? 0 : 1;
}

async function createFileTransport(config: FileConfig, { log, redactor, clock }: Tools): Promise<FileTransport> {
  const { openTemplate } = await import('./transport/file/file.ts');
  for (const [name, value] of config.values ?? []) if (looksSecret(name)) redactor.learn(value);
  return await openTemplate({
    ...config,
    clock,
    redact: redactor.redact,
    onWarning: (message) => log.warn(message),
    onEvent: writerTo(process.stdout),
  });
}

/** Left alone, V8 collects garbage so seldom that a process that needs 20 MB comes to have 250 after some thousand polls. */
function keepMemorySmall(): void {
  setFlagsFromString('--optimize-for-size');
  compileForSpeed(false);
}

/** Where V8's optimizing compilers are switched on and off. */
interface Pace {
  observe(event: LoopEvent): void;
  observeRuntime(event: RuntimeEvent): void;
}

/** An action that prints less has ended before they have paid for themselves. */
const LINES_WORTH_COMPILING = 1000;

/**
 * What V8's optimizing compilers leave behind are some 20 MB, and what they do for an action that prints little is a tenth of all its CPU. An agent that copies
 * much output does that four times as fast with them: they are switched on when an action has printed many lines, and off again at its end.
 */
function createPace(): Pace {
  let lines = 0;
  return {
    observe({ kind }) {
      if (kind !== 'begun' && kind !== 'ended') return;
      if (lines >= LINES_WORTH_COMPILING) compileForSpeed(false);
      lines = 0;
    },
    observeRuntime({ kind }) {
      if (kind !== 'output') return;
      lines += 1;
      if (lines === LINES_WORTH_COMPILING) compileForSpeed(true);
    },
  };
}

function compileForSpeed(on: boolean): void {
  for (const compiler of ['opt', 'maglev']) setFlagsFromString(on ? `--${compiler}` : `--no-${compiler}`);
}

/**
 * What the start and each action leave behind is some 10 MB of garbage, which V8 looks for only when as much again has come up: hours later, in an agent that
 * waits for work. So it is told to look as soon as nothing is to be done. Only the executable has the function for it (executable/build.ts).
 */
function createTidying(): (event: LoopEvent) => void {
  let isTidy = false;
  return (event) => {
    if (event.kind === 'begun') isTidy = false;
    if (event.kind !== 'asked' || event.answer !== 'idle' || isTidy) return;
    isTidy = true;
    globalThis.gc?.();
  };
}

/** A machine on whose bench a template is tried stays up. */
const noPower: Power = {
  rebootRequested: async () => false,
  finish: () => Promise.reject(new PowerError('the machine is not restarted for a template from a file')),
};

/** Registries are reached by the proxies of the environment; the commands we start use them too. */
function exportProxies({ httpProxy, httpsProxy, proxyBypass }: Config): void {
  const proxies = {
    http_proxy: httpProxy?.url.reveal(),
    https_proxy: httpsProxy?.url.reveal(),
    no_proxy: proxyBypass,
  };
  for (const [small, value] of Object.entries(proxies)) {
    for (const name of [small, small.toUpperCase()]) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

function formatOf({ logFormat }: Config, stream: Output): 'text' | 'json' {
  if (logFormat !== 'auto') return logFormat;
  return stream.isTTY ? 'text' : 'json';
}

/** The stream may be gone (its reader ended); the work goes on without it. */
function writerTo(stream: Output): (line: string) => void {
  stream.on('error', () => {});
  return (line) => void stream.write(line);
}

/** Aborted by the first SIGTERM or SIGINT; a second one ends the process at once, as is usual. */
function stopOnSignal(): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const stop = (name: NodeJS.Signals) => controller.abort(new Error(`it received ${name}`));
  process.once('SIGTERM', stop).once('SIGINT', stop);
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => process.off('SIGTERM', stop).off('SIGINT', stop),
  };
}

/** The adapters are loaded when they are needed, so that `--help` does not wait for gRPC. */
async function createTransport(
  config: ServerConfig | NatsConfig,
  { redactor, clock }: Tools,
  { onDialect, log }: Outlets,
  journal: Journal,
): Promise<Transport> {
  switch (config.transport) {
    case 'grpc': {
      const { createServerTransport } = await import('./transport/grpc/server.ts');
      return createServerTransport({
        clock,
        authority: config.grpcAuthority,
        workerId: config.workerId,
        dialect: config.dialect,
        certificateUrl: config.certUrl,
        ...(await readTlsFiles(config)),
        proxy: createProxyRules({
          httpProxy: config.httpProxy?.url.reveal(),
          httpsProxy: config.httpsProxy?.url.reveal(),
          noProxy: config.proxyBypass,
        }),
        tls: config.tls,
        verify: !config.insecureTls,
        onDialect,
        attributes: config.attributeDetection ? createInventory(() => takeInventory('/', clock)) : undefined,
        workflowData: {
          directory: (workflowId) => workflowDirectory(config.workDirectory, workflowId),
          notice: (text) => log.warn(text),
        },
      });
    }
    case 'nats': {
      const { NatsOptionsError, openNats } = await import('./transport/nats/nats.ts');
      try {
        return openNats({
          clock,
          server: config.natsServer.url.reveal(),
          tls: { required: config.tls === true, verify: !config.insecureTls, ...(await readTlsFiles(config)) },
          stream: config.natsStream,
          actionsSubject: config.natsActions,
          eventsSubject: config.natsEvents,
          workerId: config.workerId,
          redact: redactor.redact,
          onWarning: (message) => log.warn(message),
          onState: (state) => log.info(`${state} ${state === 'connected' ? 'to' : 'from'} the NATS server`),
          finishDue: () => journal.finishDue(),
        });
      } catch (error) {
        if (error instanceof NatsOptionsError) throw new ConfigError(error.message);
        throw error;
      }
    }
  }
}

async function createRuntime(
  config: CompleteConfig,
  onEvent: OnRuntimeEvent,
  redactor: Redactor,
  clock: Clock,
): Promise<Runtime> {
  const options: ContainerRuntimeOptions = {
    clock,
    workDirectory: config.workDirectory,
    network: config.network === 'auto' ? undefined : config.network,
    registry: config.dockerRegistry,
    prefix: config.registryPrefix === 'auto' ? undefined : config.registryPrefix,
    credentials: credentialsOf(config),
    mirrors: config.registryMirrors,
    dockerConfigDirectory: config.dockerConfig,
    pullTimeoutSeconds: config.pullTimeoutSeconds,
    defaultTimeoutSeconds: config.actionTimeoutSeconds,
    stopGraceSeconds: config.stopGraceSeconds,
    privileges: config.privileged ? 'privileged' : 'all-available',
    redact: redactor.redact,
    onEvent,
  };
  switch (config.runtime) {
    case 'docker': {
      const { createDockerRuntime } = await import('./runtime/docker.ts');
      return createDockerRuntime({ ...options, host: config.dockerHost });
    }
    case 'containerd': {
      const { createContainerdRuntime } = await import('./runtime/containerd/runtime.ts');
      return createContainerdRuntime({
        ...options,
        socket: config.containerdSocket,
        namespace: config.containerdNamespace,
        dataRoot: config.containerdDataRoot,
        registryConfigPath: config.containerdRegistryConfigPath,
      });
    }
  }
}

function secretsOf({ registryPassword, registries = new RegistryAccounts(), ...config }: CompleteConfig): string[] {
  const passwords = [registryPassword, ...[...registries.values()].map(({ password }) => password)];
  const inUrls = [config.natsServer, config.httpProxy, config.httpsProxy].flatMap((server) => server?.secrets() ?? []);
  return [...passwords.flatMap((password) => password?.reveal() ?? []), ...inUrls];
}

/** The registry may be given with a path, as a prefix of image names; credentials belong to its host. */
function credentialsOf(config: CompleteConfig): RegistryCredentials[] {
  const { dockerRegistry, registryUsername, registryPassword, registries = new RegistryAccounts() } = config;
  const further = [...registries].map(([host, { username, password }]) => ({
    host,
    username,
    password: password.reveal(),
  }));
  const [host] = dockerRegistry?.replace(/^https?:\/\//, '').split('/') ?? [];
  if (host === undefined || registryUsername === undefined || registryPassword === undefined) return further;
  return [{ host, username: registryUsername, password: registryPassword.reveal() }, ...further];
}
