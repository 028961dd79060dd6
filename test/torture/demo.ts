/**
 * Section `demo`: `make demo` again and again, each time from power-on to the login. A run that
 * fails once is a violation. Settings are environment variables:
 *
 * - `RUNS`: how many. Default: 20.
 * - `BUSY`: how many processes that never wait run beside it, for each core. Default: 0.
 * - `SEED`: of the first run. With its number firmware, protocol version and restart take turns.
 *   Default: 1.
 *
 * The logs of a run that failed are kept: the path is printed. Needs root and what `make demo`
 * builds.
 */
import { cp, mkdtemp } from 'node:fs/promises';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { z } from 'zod';
import { SERVER_DIALECTS } from '../sandbox/tink-server/server.ts';
import { print, printTable, type Row, settingsFrom } from './section.ts';

const root = join(import.meta.dirname, '../..');

interface DemoRun {
  readonly seed: number;
  readonly options: readonly string[];
  readonly seconds: number;
  /** Mean number of processes that ran or waited for a processor, over the last five minutes. */
  readonly load: number;
  /** Where it stopped, and its logs. `undefined`: every check passed. */
  readonly failure: string | undefined;
}

export async function runDemos(): Promise<readonly Row[]> {
  const settings = settingsFrom({
    RUNS: z.coerce.number().int().positive().default(20),
    BUSY: z.coerce.number().int().nonnegative().default(0),
    SEED: z.coerce.number().int().default(1),
  });
  const { RUNS: count, BUSY: busy, SEED: seed } = settings;
  using _ = keepBusy(busy * availableParallelism());
  const runs: DemoRun[] = [];
  for (let index = 0; index < count; index++) {
    const run = await runDemo(seed + index);
    runs.push(run);
    print(
      `${index + 1} of ${count}: ${run.options.join(' ')}: ${run.seconds.toFixed(0)} s, load ${run.load.toFixed(0)}: ${run.failure ?? 'every check passed'}`,
    );
  }
  const failed = runs.filter(({ failure }) => failure !== undefined).length;
  const seconds = runs.map((run) => run.seconds).sort((a, b) => a - b);
  printTable([
    ['busy processes per core', 'runs', 'violations', 'shortest s', 'longest s', 'highest load'],
    [
      busy,
      count,
      failed,
      (seconds[0] ?? 0).toFixed(0),
      (seconds.at(-1) ?? 0).toFixed(0),
      Math.max(...runs.map(({ load }) => load)).toFixed(0),
    ],
  ]);
  return [{ section: busy === 0 ? 'demo' : 'demo:busy', runs: count, violations: failed, seed }];
}

async function runDemo(seed: number): Promise<DemoRun> {
  const options = optionsOf(seed);
  const begin = performance.now();
  const { exitCode, all } = await execa(process.execPath, [join(root, 'test/e2e/demo.ts'), ...options], {
    reject: false,
    all: true,
  });
  const seconds = (performance.now() - begin) / 1000;
  const load = loadavg()[1] ?? 0;
  if (exitCode === 0) return { seed, options, seconds, load, failure: undefined };
  const logs = await mkdtemp(join(tmpdir(), `nibs-demo-${seed}-`));
  // The disks are sparse, and as large as real ones.
  await cp(join(root, 'build/demo'), logs, { recursive: true, filter: (path) => !path.endsWith('.img') });
  return { seed, options, seconds, load, failure: `${all?.trim().split('\n').at(-1)}; logs in ${logs}` };
}

function optionsOf(seed: number): readonly string[] {
  const dialect = SERVER_DIALECTS[seed % SERVER_DIALECTS.length] ?? 'v0.1';
  const firmware = seed % 2 === 0 ? 'bios' : 'uefi';
  const finish = seed % 4 < 2 ? 'reboot' : 'kexec';
  return ['--dialect', dialect, '--firmware', firmware, '--finish', finish];
}

/** Starts processes that never wait; disposal ends them. */
function keepBusy(count: number): Disposable {
  const stop = new AbortController();
  for (let index = 0; index < count; index++) {
    // Ended by the signal, or with this process.
    execa('sh', ['-c', 'while :; do :; done'], { cancelSignal: stop.signal, reject: false });
  }
  return { [Symbol.dispose]: () => stop.abort() };
}
