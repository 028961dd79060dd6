import type { Clock } from '../clock/clock.ts';
import { systemClock } from '../clock/system.ts';
import { reasonOf } from '../errors/reason.ts';
import { printable } from '../text/printable.ts';
import { type AgentDependencies, runAgent } from './agent.ts';
import { createRuntime } from './create-runtime.ts';
import { createTransport } from './create-transport.ts';
import { JournalError, openJournal } from './journal.ts';
import { knownCertificates } from './known-certificates.ts';
import { createRedactor } from './log/redact.ts';
import { startMemoryCare } from './memory-care.ts';
import type { KexecOptions } from './power/kexec.ts';
import { createPower } from './power/power.ts';
import { reportFailure } from './report/on-failure.ts';
import { runTemplate } from './run-template.ts';
import { type AgentCommand, ArgumentError, type Arguments, helpText, parseArguments } from './settings/arguments.ts';
import { completionText } from './settings/completion.ts';
import {
  ConfigError,
  describeConfig,
  explainConfig,
  type LoadedConfig,
  loadConfig,
  loadSettings,
  type NatsConfig,
  type ServerConfig,
  serverOf,
} from './settings/config.ts';
import { secretsFrom } from './settings/credentials.ts';
import { exportProxies } from './settings/proxies.ts';
import type { Config } from './settings/settings.ts';
import { type Build, startTelemetry, type Telemetry } from './telemetry.ts';
import { TemplateError } from './template/problem.ts';

/** The program as the executable knows it. */
export interface Program {
  /** In `--help` and before error messages. */
  readonly name: 'tink-agent' | 'tink-worker';
  readonly build: Build;
}

/**
 * The agent as a program: reads its configuration, then works until SIGTERM or SIGINT. Only a
 * template from a file comes to an end by itself.
 *
 * @param argv flags, without the names of the interpreter and the program
 * @returns exit code: 0 after a signal, `--help`, `--print-config` or `explain`; 1 when the state
 * directory cannot be used; 2 when the configuration or a template cannot be used. A template from
 * a file gives 0 when all its actions succeeded, else 1. `doctor` gives 1 if it found an error
 */
export async function main(argv: readonly string[], program: Program, clock: Clock = systemClock): Promise<number> {
  try {
    const args = parseArguments(argv);
    if (args.help) return print(helpText(program.name, process.stdout.columns || undefined));
    if (args.completion !== undefined) return print(completionText(program.name, args.completion));
    if (args.command !== undefined) return await answer(args, args.command, clock);
    const loaded = await loadConfig(args, process.env);
    if (args.printConfig) return print(describeConfig(loaded));
    const code = await work(loaded, program.build, clock);
    // Output without a reader must not keep the process from ending.
    if (process.stdout.writableLength + process.stderr.writableLength > 0) process.exit(code);
    return code;
  } catch (error) {
    const code = exitCodeOf(error);
    if (code === undefined || !(error instanceof Error)) throw error;
    for (const line of error.message.split('\n')) process.stderr.write(`${program.name}: ${printable(line)}\n`);
    return code;
  }
}

/**
 * The program nibs-report, which reports the state of the machine.
 * @returns its exit code
 */
export async function report(argv: readonly string[], clock: Clock = systemClock): Promise<number> {
  const { reportProgram } = await import('./report/program.ts');
  return await reportProgram(argv, clock);
}

/** Does a command instead of the agent's work. */
async function answer(args: Arguments, command: AgentCommand, clock: Clock): Promise<number> {
  const loaded = await loadSettings(args, process.env);
  if (command.name === 'explain') return print(explainConfig(loaded, command.settings, command.json ? 'json' : 'text'));
  exportProxies(loaded.config, process.env);
  const redactor = createRedactor();
  for (const secret of secretsFrom(loaded.config)) redactor.learn(secret);
  using stop = stopOnSignal();
  const { examine } = await import('./doctor/doctor.ts');
  const { findingsAsJson, findingsAsText, isHealthy, redactFinding } = await import('./doctor/finding.ts');
  const certificates = (authority: string) => knownCertificates(loaded.config.stateDirectory, authority);
  try {
    const found = await examine(loaded, { clock, certificates, image: command.image }, stop.signal);
    const findings = found.map((one) => redactFinding(one, redactor.redact));
    print(command.json ? findingsAsJson(findings) : findingsAsText(findings));
    return isHealthy(findings) ? 0 : 1;
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    process.stderr.write(`stopped before all was checked: ${reasonOf(stop.signal.reason)}\n`);
    return 1;
  }
}

async function work({ config, warnings }: LoadedConfig, build: Build, clock: Clock): Promise<number> {
  const memory = startMemoryCare();
  exportProxies(config, process.env);
  const redactor = createRedactor();
  for (const secret of secretsFrom(config)) redactor.learn(secret);
  // The standard output of a template from a file has its events.
  const stream = config.transport === 'file' ? process.stderr : process.stdout;
  const format = formatOf(config, stream);
  await using telemetry = await startTelemetry(config, { build, clock, format, redactor, stream });
  const { log } = telemetry;
  using stop = stopOnSignal();
  for (const warning of warnings) log.warn(warning);
  await using runtime = await createRuntime(config, {
    clock,
    redactor,
    onEvent(event) {
      memory.observeRuntime(event);
      return telemetry.onRuntimeEvent(event);
    },
  });
  const observe: AgentDependencies['observe'] = (event) => {
    memory.observe(event);
    telemetry.observe(event);
    if (event.kind === 'ended' && event.verdict !== 'SUCCESS' && config.reportUrl !== undefined)
      void reportFailure({ reportUrl: config.reportUrl, clock, log, redactor }, stop.signal);
  };
  const dependencies = { runtime, log, redactor, observe, clock };
  if (config.transport === 'file') {
    const onEvent = writerTo(process.stdout);
    return (await runTemplate(config, { ...dependencies, onEvent }, stop.signal)) ? 0 : 1;
  }
  await workForServer(config, { ...dependencies, telemetry }, stop.signal);
  return 0;
}

async function workForServer(
  config: ServerConfig | NatsConfig,
  dependencies: Pick<AgentDependencies, 'runtime' | 'log' | 'redactor' | 'observe'> & {
    readonly clock: Clock;
    readonly telemetry: Telemetry;
  },
  signal: AbortSignal,
): Promise<void> {
  const { log, clock, redactor, telemetry } = dependencies;
  await using journal = await openJournal(config.stateDirectory, (message) => log.error(message), clock);
  const { onDialect } = telemetry;
  await using transport = await createTransport(config, { clock, log, redactor, journal, onDialect });
  const power = createPower({ ...config, clock, kexec: kexecFrom(config), warn: (message) => log.warn(message) });
  log.info({ worker: config.workerId, server: serverOf(config), process: process.pid }, 'the agent starts');
  await runAgent({ ...config, ...dependencies, transport, journal, power }, signal);
}

function kexecFrom(config: Config): KexecOptions {
  const { kexecCommand: command, kexecKernel, kexecDevice, kexecFsType, kexecInitramfs, kexecCmdline } = config;
  if (kexecKernel === undefined) return { command, kernel: undefined };
  const files = { device: kexecDevice, filesystem: kexecFsType, kernel: kexecKernel, initrds: kexecInitramfs ?? [] };
  return { command, kernel: { ...files, commandLine: kexecCmdline } };
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

/** `undefined`: an unexpected failure. */
function exitCodeOf(error: unknown): number | undefined {
  if (error instanceof ArgumentError || error instanceof ConfigError || error instanceof TemplateError) return 2;
  return error instanceof JournalError ? 1 : undefined;
}

type Output = typeof process.stdout | typeof process.stderr;

function formatOf({ logFormat }: Config, stream: Output): 'text' | 'json' {
  if (logFormat !== 'auto') return logFormat;
  return stream.isTTY ? 'text' : 'json';
}

/** The reader of the stream may end before the agent, which goes on without it. */
function writerTo(stream: Output): (line: string) => void {
  stream.on('error', () => {});
  return (line) => void stream.write(line);
}

/** Aborted by the first SIGTERM or SIGINT. A second one ends the process at once, as is usual. */
function stopOnSignal(): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const stop = (name: NodeJS.Signals) => controller.abort(new Error(`it received ${name}`));
  process.once('SIGTERM', stop).once('SIGINT', stop);
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => process.off('SIGTERM', stop).off('SIGINT', stop),
  };
}
