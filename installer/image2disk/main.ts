import { inspect } from 'node:util';
import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import { OperationError } from '../../errors/operation-error.ts';
import { reasonOf } from '../../errors/reason.ts';
import type { WriteProgress } from '../disk/write.ts';
import { createDownloadClient } from '../fetch/client.ts';
import { listenForInterrupts } from '../interrupts.ts';
import type { Output, Report } from '../progress.ts';
import { readSite, type SiteDefaults } from '../site.ts';
import { type ActionLog, createActionLog, formatSize } from './log.ts';
import { writeWithRetries } from './retries.ts';
import { readFlag, readSettings, type Settings } from './settings.ts';
import { variables } from './variables.ts';
import { writeToDisk } from './write-image.ts';

/** What the program uses of the system. Tests replace it. */
interface ActionSystem {
  readonly stdout: Output;
  readonly stderr: Output;
  /** Directory in place of `/` for what the site has set. */
  readonly root: string;
  readonly clock: Clock;
}

/**
 * `image2disk`: writes an image to a disk, as the environment says.
 * @param args what follows the program's name: nothing, or `--help`
 * @returns the exit code: 0, or 1 for every failure
 */
export async function main(
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  overrides: Partial<ActionSystem> = {},
): Promise<number> {
  const system: ActionSystem = {
    stdout: process.stdout,
    stderr: process.stderr,
    root: '/',
    clock: systemClock,
    ...overrides,
  };
  const [argument] = args;
  if (argument === '--help' || argument === '-h') {
    system.stdout.write(help());
    return 0;
  }
  const odd: string[] = [];
  const isText = readFlag('TEXT_LOGGING', environment['TEXT_LOGGING'], (message) => odd.push(message)) === true;
  const log = createActionLog(isText ? 'text' : 'json', isText ? system.stderr : system.stdout, system.clock);
  log.info('IMAGE2DISK - Cloud image streamer');
  for (const message of odd) log.warn(message);
  const { IMG_URL: image = '', DEST_DISK: disk = '' } = environment;
  using interruption = listenForInterrupts((error) => log.error(`${inspect(error)} (internal error)`));
  try {
    if (argument !== undefined) refuseArgument(argument);
    const site = await readSite(system.root);
    const settings = readSettings(environment, (message) => log.warn(message), site.waitSeconds);
    const { clock } = system;
    const { signal } = interruption;
    const write = (current: Settings) => writeOnce(current, { site, environment, log, clock, signal });
    await writeWithRetries(settings, write, { log, explain, clock, signal });
  } catch (error) {
    log.error('error writing image to disk', { err: explain(error), image, disk });
    return 1;
  }
  log.info('Successfully wrote image to disk', { image, disk });
  return 0;
}

function refuseArgument(argument: string): never {
  throw new OperationError({
    what: 'use',
    target: `the argument ${argument}`,
    why: 'the settings are variables of the environment',
    hint: 'see --help',
  });
}

interface Surroundings {
  readonly site: SiteDefaults;
  readonly environment: NodeJS.ProcessEnv;
  readonly log: ActionLog;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

async function writeOnce(settings: Settings, { site, environment, log, clock, signal }: Surroundings): Promise<void> {
  using progress = createProgress(log, settings.progressSeconds, clock);
  const { report } = progress;
  using client = createDownloadClient({ clock, environment, authorities: site.authorities, onRetry: report.warn });
  const onWritten = progress.written;
  const context = { client, report, onWritten, clock, signal, siteKeyFile: site.keyFile };
  const written = await writeToDisk(settings, context);
  progress.print();
  log.info('all of the image is on the disk', {
    image: formatSize(written.imageBytes),
    written: formatSize(written.writtenBytes),
    zeroedByTheDisk: formatSize(written.zeroedBytes),
  });
}

interface Progress extends Disposable {
  readonly report: Report;
  readonly written: (progress: WriteProgress) => void;
  /** Prints it now. */
  readonly print: () => void;
}

/** A line each so many seconds. */
function createProgress(log: ActionLog, intervalSeconds: number, clock: Clock): Progress {
  let readBytes = 0;
  let totalBytes: number | undefined;
  let writtenBytes = 0;
  const print = () => {
    log.info('read and write progress', {
      written: formatSize(writtenBytes),
      compressedSize: formatSize(totalBytes),
      read: formatSize(readBytes),
    });
  };
  const timer = clock.schedule(intervalSeconds, () => {
    print();
    timer.restart();
  });
  return {
    print,
    [Symbol.dispose]: () => timer[Symbol.dispose](),
    written({ doneBytes }) {
      writtenBytes = doneBytes;
    },
    report: {
      phase: (_phase, message) => log.info(message),
      transferred(doneBytes, total) {
        readBytes = doneBytes;
        totalBytes = total;
      },
      note: (message) => log.info(message),
      warn: (message) => log.warn(message),
      detail() {},
    },
  };
}

/** The variables that stand for the options that the hints of `flatcar-install` name. */
const variablesForOptions: readonly (readonly [RegExp, string])[] = [
  [/check what -f, -b or -V name/, 'check what IMG_URL names'],
  [/check the version, channel, board and (each )?base URL/, 'check IMG_URL'],
  [/-k FILE/, 'IMG_SIG_KEY'],
  [/with -k\b/, 'in IMG_SIG_KEY'],
  [/with -f\b/, 'in IMG_URL'],
  [/the mirror of -b\b/, 'IMG_SIG_URL'],
  [/with -d\b/, 'with DEST_DISK'],
  [/--wipe-members(=foreign)?/, 'DEST_WIPE_MEMBERS'],
  [/--min-size\b/, 'DEST_MIN_SIZE'],
  [/--never\b/, 'DEST_NEVER'],
  [/--match\b/, 'DEST_DISK'],
  [/--list-disks\b/, 'flatcar-install --list-disks'],
];

function explain(error: unknown): string {
  if (!(error instanceof OperationError)) return `${reasonOf(error)} (internal error)`;
  return variablesForOptions.reduce((text, [option, variable]) => text.replace(option, variable), error.message);
}

function help(): string {
  const width = Math.max(...variables.map(([name]) => name.length));
  const rows = variables.map(([name, text]) => `  ${name.padEnd(width)}  ${text}\n`);
  return `Usage: image2disk\n\nWrites an image to a disk. The settings are variables of the environment:\n\n${rows.join('')}`;
}
