import { inspect } from 'node:util';
import type { Clock } from '../clock/clock.ts';
import { systemClock } from '../clock/system.ts';
import { OperationError } from '../errors/operation-error.ts';
import { reasonOf } from '../errors/reason.ts';
import { type ReleaseDefaults, readDefaults } from './defaults.ts';
import { InstallError } from './errors.ts';
import { type Options, parseOptions } from './options.ts';
import { type InstallPlan, makePlan, settingsOf, type Target } from './plan.ts';
import { createReport, type Output, type Report } from './progress.ts';
import { readSite, type SiteDefaults } from './site.ts';

/** A stream for people or programs to read; a terminal says how wide it is. */
export interface Screen extends Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Where the program runs. Tests put these elsewhere. */
export interface System {
  readonly stdout: Screen;
  readonly stderr: Screen;
  /** Stands for `/` when the defaults of the running system are read. */
  readonly root: string;
  /** Where `-D` puts the image. */
  readonly workingDirectory: string;
  readonly clock: Clock;
}

/** One run: what was asked for and where to tell about it. */
interface Run {
  readonly options: Options;
  readonly defaults: ReleaseDefaults;
  readonly site: SiteDefaults;
  readonly environment: NodeJS.ProcessEnv;
  readonly system: System;
  readonly report: Report;
  readonly signal: AbortSignal;
}

/**
 * `flatcar-install`.
 * @param args what follows the program's name
 * @param environment for the proxy variables
 * @returns the exit code: 0, or 1 for every failure
 */
export async function main(
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  overrides: Partial<System> = {},
): Promise<number> {
  const system: System = {
    stdout: process.stdout,
    stderr: process.stderr,
    root: '/',
    workingDirectory: '.',
    clock: systemClock,
    ...overrides,
  };
  const found = await Promise.all([readDefaults(system.root), readSite(system.root)]).catch(reasonOf);
  if (typeof found === 'string') return complain(system, found);
  const [defaults, site] = found;
  const parsed = parseOptions(args, defaults, site);
  if (parsed.kind === 'wrong') {
    const { message: why } = parsed;
    const hint = 'see --help';
    const message = `${why} (${hint})`;
    // Whoever asked for it wants to read this too, although the rest was not understood.
    if (args.includes('--json'))
      writeJson(system, { event: 'error', message, what: 'understand', target: 'the command line', why, hint });
    return complain(system, message);
  }
  if (parsed.kind === 'help') {
    system.stdout.write(parsed.text);
    return 0;
  }

  const { options } = parsed;
  const report = chooseReport(options, system);
  if (parsed.ignored.length > 0) report.warn(`ignored: ${parsed.ignored.join(' ')}`);
  using interruption = listenForInterrupts();
  try {
    await run({ options, defaults, site, environment, system, report, signal: interruption.signal });
    return 0;
  } catch (error) {
    return fail(error, options, system);
  }
}

async function run(task: Run): Promise<void> {
  if (task.options.listDisks) return await showDisks(task);
  const plan = makePlan(task.options, task.defaults, task.site);
  if (task.options.dryRun) return await checkOnly(plan, task);
  if (plan.target === undefined) return await downloadOnly(plan, task);
  return await installNow({ ...plan, target: plan.target }, task);
}

async function installNow(plan: InstallPlan & { readonly target: Target }, task: Run): Promise<void> {
  const { install } = await import('./install.ts');
  using client = await createClient(plan, task);
  const installed = await install(plan, { client, report: task.report, signal: task.signal, clock: task.system.clock });
  const { channel, version, oem } = installed.release;
  const name = plan.imageFile ?? `Flatcar Container Linux ${channel} ${version}${oem === '' ? '' : ` (${oem})`}`;
  succeed(task, `Success! ${name} is installed on ${installed.disk}`, installed);
}

async function downloadOnly(plan: InstallPlan, task: Run): Promise<void> {
  const { downloadImage } = await import('./download.ts');
  using client = await createClient(plan, task);
  const { report, signal, system } = task;
  const downloaded = await downloadImage(plan, system.workingDirectory, {
    client,
    report,
    signal,
    clock: system.clock,
  });
  const state = downloaded.signedBy === undefined ? 'downloaded, not verified' : 'downloaded and verified';
  succeed(task, `Success! ${downloaded.path} is ${state}`, downloaded);
}

async function checkOnly(plan: InstallPlan, { options, report, signal, system }: Run): Promise<void> {
  const { rehearse } = await import('./rehearse.ts');
  const disk = await rehearse(plan, { report, signal, clock: system.clock });
  if (options.json) return writeJson(system, { event: 'settings', disk, settings: settingsOf(plan) });
  if (disk !== undefined) report.note(`Would install to ${disk}`);
  const lines = Object.entries(settingsOf(plan)).map(([name, value]) => `${name}: ${value}`.trimEnd());
  system.stdout.write(`${lines.join('\n')}\n`);
}

async function showDisks({ options, signal, system }: Run): Promise<void> {
  const { chooseSmallest, describeCandidates, listDisks } = await import('./disk/select.ts');
  const { includeMajors, excludeMajors, minSize: minimumBytes } = options;
  const { candidates } = chooseSmallest(await listDisks(system.clock, signal), {
    ...(minimumBytes === undefined ? {} : { minimumBytes }),
    ...(includeMajors === undefined ? {} : { includeMajors }),
    ...(excludeMajors === undefined ? {} : { excludeMajors }),
  });
  if (options.json) writeJson(system, { event: 'disks', disks: candidates });
  else system.stdout.write(`${describeCandidates(candidates)}\n`);
}

async function createClient(plan: InstallPlan, { environment, report, system: { clock }, site: { authorities } }: Run) {
  const { createDownloadClient } = await import('./fetch/client.ts');
  return createDownloadClient({ ...plan.download, clock, environment, authorities, onRetry: report.warn });
}

/** Progress goes where it does not disturb: on standard error, unless a program reads it. */
function chooseReport({ json, verbose = false }: Options, { stdout, stderr, clock }: System): Report {
  if (json) return createReport({ style: 'json', verbose, output: stdout, clock });
  const style = stderr.isTTY ? 'terminal' : 'lines';
  return createReport({ style, verbose, output: stderr, clock, columns: () => stderr.columns || 80 });
}

/** Turns the first Ctrl-C into an orderly end. Later ones change nothing: the disk must not be left half cleared. */
function listenForInterrupts(): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const interrupt = (name: NodeJS.Signals) =>
    controller.abort(
      new InstallError({
        what: 'finish',
        target: 'what was asked for',
        why: `interrupted by ${name}`,
        hint: 'no disk was changed',
      }),
    );
  for (const name of signals) process.on(name, interrupt);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const name of signals) {
        if (!process.listeners(name).includes(ignore)) process.on(name, ignore);
        process.off(name, interrupt);
      }
    },
  };
}

/** What has ended with a message and an exit code is not to be killed in its last milliseconds, which would say that it was not orderly. */
function ignore(): void {}

function succeed({ options, system }: Run, message: string, result: object): void {
  if (options.json) writeJson(system, { event: 'success', message, ...result });
  else system.stdout.write(`${message}\n`);
}

function fail(error: unknown, options: Options, system: System): 1 {
  if (options.json) {
    const { what, target, why, hint } = error instanceof OperationError ? error : { why: reasonOf(error) };
    writeJson(system, { event: 'error', message: reasonOf(error), what, target, why, hint });
  }
  if (options.verbose) system.stderr.write(`${inspect(error)}\n`);
  return complain(
    system,
    error instanceof OperationError ? error.message : `${reasonOf(error)} (this should not happen; -v shows where)`,
  );
}

function complain(system: System, message: string): 1 {
  system.stderr.write(`Error: ${message}\n`);
  return 1;
}

function writeJson(system: System, object: object): void {
  system.stdout.write(`${JSON.stringify(object)}\n`);
}
