import { closeSync, openSync, writeSync } from 'node:fs';
import { inspect } from 'node:util';
import type { Clock } from '../clock/clock.ts';
import { systemClock } from '../clock/system.ts';
import { OperationError } from '../errors/operation-error.ts';
import { reasonOf } from '../errors/reason.ts';
import { maskPasswords } from '../net/mask-passwords.ts';
import { printable, printableLines } from '../text/printable.ts';
import { type ReleaseDefaults, readDefaults } from './defaults.ts';
import { listenForInterrupts } from './interrupts.ts';
import { type Options, parseOptions } from './options.ts';
import { type InstallPlan, makePlan, nameOfOwnImage, settingsOf, type Target } from './plan.ts';
import { createReport, type Output, type Report } from './progress.ts';
import { readSite, type SiteDefaults } from './site.ts';

export { main as image2disk } from './image2disk/main.ts';

/** An output stream; a terminal has a width. */
export interface Screen extends Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** What the program uses of the system. Tests replace it. */
export interface System {
  readonly stdout: Screen;
  readonly stderr: Screen;
  /** Directory in place of `/` for the defaults of the running system. */
  readonly root: string;
  /** Directory for the image of `-D`. */
  readonly workingDirectory: string;
  readonly clock: Clock;
}

/** One run of the program: its options, its surroundings, its output. */
interface Invocation {
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
  const { stdout = process.stdout, stderr = process.stderr, ...others } = overrides;
  const system: System = {
    stdout: withoutPasswords(stdout),
    stderr: withoutPasswords(stderr),
    root: '/',
    workingDirectory: '.',
    clock: systemClock,
    ...others,
  };
  const found = await Promise.all([readDefaults(system.root), readSite(system.root)]).catch(reasonOf);
  if (typeof found === 'string') return complain(system, found);
  const [defaults, site] = found;
  const parsed = parseOptions(args, defaults, site, widthOf(system.stdout));
  if (parsed.kind === 'wrong') {
    const { message: why } = parsed;
    const hint = 'see --help';
    const message = `${why} (${hint})`;
    // A caller that asked for JSON gets JSON, even if the other options are wrong.
    if (args.includes('--json'))
      writeJson(system, { event: 'error', message, what: 'parse', target: 'the command line', why, hint });
    return complain(system, message);
  }
  if (parsed.kind === 'text') {
    system.stdout.write(parsed.text);
    return 0;
  }

  const { options } = parsed;
  const logFile = options.logFile === undefined ? undefined : openLog(options.logFile);
  if (typeof logFile === 'string') return complain(system, logFile);
  using _closing = logFile;
  const logged = logFile === undefined ? system : withLog(system, logFile);
  const report = chooseReport(options, logged, environment);
  using interruption = listenForInterrupts((error) => complain(logged, `${inspect(error)} (internal error)`));
  try {
    const { signal } = interruption;
    return await run({ options, defaults, site, environment, system: logged, report, signal });
  } catch (error) {
    return fail(error, options, logged);
  }
}

/** A file that gets all output, too. It must not be the reason why an installation ends. */
interface Log extends Disposable {
  write(text: string): void;
}

/** @returns the reason if it cannot be written to */
function openLog(path: string): Log | string {
  try {
    const file = openSync(path, 'a', 0o600);
    const attempt = (action: () => void) => {
      try {
        action();
      } catch {
        // A full disk: the exit code has the result.
      }
    };
    return {
      write: (text) => attempt(() => writeSync(file, maskPasswords(text))),
      [Symbol.dispose]: () => attempt(() => closeSync(file)),
    };
  } catch (error) {
    return `cannot write the log to ${path}: ${reasonOf(error)} (give a file that can be written to with --log-file)`;
  }
}

function withLog(system: System, log: Log): System {
  const also = (screen: Screen): Screen => ({
    write: (text) => {
      log.write(text);
      return screen.write(text);
    },
    get isTTY() {
      return screen.isTTY ?? false;
    },
    get columns() {
      return screen.columns ?? 0;
    },
  });
  return { ...system, stdout: also(system.stdout), stderr: also(system.stderr) };
}

/** Errors, progress and settings name URLs: nothing is printed with the password of one. */
function withoutPasswords(screen: Screen): Screen {
  return {
    write: (text) => screen.write(maskPasswords(text)),
    get isTTY() {
      return screen.isTTY ?? false;
    },
    get columns() {
      return screen.columns ?? 0;
    },
  };
}

/** Returns the exit code. */
async function run(invocation: Invocation): Promise<number> {
  const { checkIgnition, dryRun, listDisks } = invocation.options;
  if (Array.isArray(checkIgnition)) return (await checkGiven(checkIgnition, invocation)) ? 0 : 1;
  if (listDisks) await showDisks(invocation);
  else await carryOut(makePlan(invocation.options, invocation.defaults, invocation.site), dryRun === true, invocation);
  return 0;
}

async function carryOut(plan: InstallPlan, dryRun: boolean, invocation: Invocation): Promise<void> {
  if (dryRun) return await checkOnly(plan, invocation);
  if (plan.target === undefined) return await downloadOnly(plan, invocation);
  return await installNow({ ...plan, target: plan.target }, invocation);
}

/** Needs no target, no network and no root. */
async function checkGiven(
  paths: readonly string[],
  { options, defaults, site, system, signal }: Invocation,
): Promise<boolean> {
  const { checkConfigs } = await import('./check-configs.ts');
  const { configuration } = makePlan({ ...options, downloadOnly: true, offline: false }, defaults, site);
  const show = (result: object, lines: readonly string[]) => {
    if (options.json) writeJson(system, { event: 'ignition-check', ...result });
    else system.stdout.write(lines.map((line) => `${printableLines(line)}\n`).join(''));
  };
  return await checkConfigs(paths, configuration, show, signal);
}

async function installNow(plan: InstallPlan & { readonly target: Target }, invocation: Invocation): Promise<void> {
  const { install } = await import('./install.ts');
  using client = await createClient(plan, invocation);
  const installed = await install(plan, {
    client,
    report: invocation.report,
    signal: invocation.signal,
    clock: invocation.system.clock,
  });
  const { channel, version, oem } = installed.release;
  const claimed = installed.provenVersion === undefined ? `${version} (as the server claims)` : installed.provenVersion;
  const name = nameOfOwnImage(plan) ?? `Flatcar Container Linux ${channel} ${claimed}${oem === '' ? '' : ` (${oem})`}`;
  succeed(invocation, `Success! ${name} is installed on ${installed.disk}`, installed);
}

async function downloadOnly(plan: InstallPlan, invocation: Invocation): Promise<void> {
  const { downloadImage } = await import('./download.ts');
  using client = await createClient(plan, invocation);
  const { report, signal, system } = invocation;
  const downloaded = await downloadImage(plan, system.workingDirectory, {
    client,
    report,
    signal,
    clock: system.clock,
  });
  const state =
    downloaded.signedBy === undefined && downloaded.hash === undefined
      ? 'downloaded, not verified'
      : 'downloaded and verified';
  succeed(invocation, `Success! ${downloaded.path} is ${state}`, downloaded);
}

async function checkOnly(plan: InstallPlan, { options, report, signal, system }: Invocation): Promise<void> {
  const { dryRun } = await import('./dry-run.ts');
  const disk = await dryRun(plan, { report, signal, clock: system.clock });
  if (options.json) return writeJson(system, { event: 'settings', disk, settings: settingsOf(plan) });
  if (disk !== undefined) report.note(`Would install to ${disk}`);
  // As the original prints them: scripts read it.
  const lines = Object.entries(settingsOf(plan)).map(
    ([name, value]) => `    ${`${name}:`.padEnd(10)}${value || '(none)'}`,
  );
  system.stdout.write(`Settings:\n${lines.join('\n')}\n`);
}

async function showDisks({ options, signal, system }: Invocation): Promise<void> {
  const { chooseSmallest, describeCandidates, listDisks } = await import('./disk/select.ts');
  const { selectionOptions } = await import('./target.ts');
  const { includeMajors, excludeMajors, match, never, wipeMembers, minSize: minBytes } = options;
  const limits = selectionOptions({ includeMajors, excludeMajors, match, never, wipeMembers, minBytes });
  const { candidates } = chooseSmallest(await listDisks(system.clock, signal), limits);
  if (options.json) writeJson(system, { event: 'disks', disks: candidates });
  else system.stdout.write(`${describeCandidates(candidates, widthOf(system.stdout))}\n`);
}

async function createClient(
  plan: InstallPlan,
  { environment, report, system: { clock }, site: { authorities } }: Invocation,
) {
  const { createDownloadClient } = await import('./fetch/client.ts');
  return createDownloadClient({ ...plan.download, clock, environment, authorities, onRetry: report.warn });
}

/** Progress goes to standard error, or as JSON to standard output. */
function chooseReport(
  { json, verbose = false }: Options,
  { stdout, stderr, clock }: System,
  environment: NodeJS.ProcessEnv,
): Report {
  if (json) return createReport({ style: 'json', verbose, output: stdout, clock });
  const columns = () => widthOf(stderr) ?? 80;
  if (!stderr.isTTY) return createReport({ style: 'lines', verbose, output: stderr, clock });
  // One that is dumb may not go back to the beginning of its line either.
  const style = environment['TERM'] === 'dumb' ? 'lines' : 'terminal';
  return createReport({ style, verbose, output: stderr, clock, columns });
}

/** Columns of a terminal; undefined for what is none, or does not know. */
function widthOf({ isTTY, columns }: Screen): number | undefined {
  return isTTY && columns ? columns : undefined;
}

function succeed({ options, system }: Invocation, message: string, result: object): void {
  if (options.json) writeJson(system, { event: 'success', message, ...result });
  else system.stdout.write(`${printable(message)}\n`);
}

function fail(error: unknown, options: Options, system: System): 1 {
  if (options.json) {
    const { what, target, why, hint } = error instanceof OperationError ? error : { why: reasonOf(error) };
    writeJson(system, { event: 'error', message: reasonOf(error), what, target, why, hint });
  }
  if (options.verbose) system.stderr.write(`${printableLines(inspect(error))}\n`);
  return complain(
    system,
    error instanceof OperationError ? error.message : `${reasonOf(error)} (internal error; run with -v for the stack)`,
  );
}

function complain(system: System, message: string): 1 {
  system.stderr.write(`Error: ${printableLines(message)}\n`);
  return 1;
}

function writeJson(system: System, object: object): void {
  const clean = (_name: string, value: unknown) => (typeof value === 'string' ? printableLines(value) : value);
  system.stdout.write(`${JSON.stringify(object, clean)}\n`);
}
