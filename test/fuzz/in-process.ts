import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProcessResult, ProcessSettings } from './process.ts';

export interface ProcessOptions extends Omit<ProcessSettings, 'currentPath'> {
  /** CPU time for one input; `examine()` allows some seconds. Default: 60. */
  readonly hangsAfterSeconds?: number;
  /** For one input to wait without any CPU time. Default: 120. */
  readonly waitsForSeconds?: number;
  /** Heap, in MiB; all memory may be as much more. Default: 1,024. */
  readonly maxHeapMiB?: number;
}

const sampleMs = 200;
const maxErrorCharacters = 4000;

/**
 * Fuzzes a target in a process of its own. An input with which it does not end, ends the process or
 * takes memory without limit is a violation.
 *
 * A thread is not enough: one that fills its heap cannot be terminated, and ends the process.
 */
export async function fuzzInProcess(options: ProcessOptions): Promise<ProcessResult> {
  const { hangsAfterSeconds = 60, waitsForSeconds = 120, maxHeapMiB = 1024, ...settings } = options;
  // A process that is killed removes nothing itself.
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-fuzz-'));
  const currentPath = join(scratch.path, 'current');
  await writeFile(currentPath, Buffer.alloc(8));
  const child = fork(
    join(import.meta.dirname, 'process.ts'),
    [JSON.stringify({ ...settings, currentPath } satisfies ProcessSettings)],
    {
      execArgv: [`--max-old-space-size=${maxHeapMiB}`],
      env: { ...process.env, TMPDIR: scratch.path },
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    },
  );
  let [result, stopped, errors] = [undefined as ProcessResult | undefined, '', ''];
  child.on('message', (message: ProcessResult) => {
    result = message;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(0, maxErrorCharacters);
  });
  const exited = once(child, 'exit') as Promise<[number | null, string | null]>;
  let [number, since, lastSeconds, waits] = [-1, 0, 0, 0];
  const stop = (why: string) => {
    stopped = why;
    child.kill('SIGKILL');
  };
  const watch = async () => {
    const { seconds, memoryMiB } = await usageOf(child);
    waits = seconds > lastSeconds ? 0 : waits + sampleMs / 1000;
    lastSeconds = seconds;
    const { number: now } = await readCurrent(currentPath);
    if (now !== number) [number, since, waits] = [now, seconds, 0];
    if (memoryMiB > 2 * maxHeapMiB) stop(`it took more than ${2 * maxHeapMiB} MiB`);
    else if (seconds - since > hangsAfterSeconds) stop(`it has not ended after ${hangsAfterSeconds} s of CPU time`);
    else if (waits > waitsForSeconds) stop(`it has waited for ${waitsForSeconds} s without any CPU time`);
  };
  // After its end there is nothing to look at.
  const timer = setInterval(() => void watch().catch(() => {}), sampleMs);
  const [code, signal] = await exited.finally(() => clearInterval(timer));
  if (result !== undefined) return result;
  const { number: runs, input } = await readCurrent(currentPath);
  if (runs === 0) throw new Error(`the process ended by ${signal ?? code} before the first input: ${errors}`);
  const what = stopped === '' ? `the process ended by ${signal ?? `exit code ${code}`}: ${errors}` : stopped;
  return { runs, seconds: lastSeconds, kept: [], selected: [], violation: { input, what } };
}

/** The input that is examined. */
async function readCurrent(path: string): Promise<{ readonly number: number; readonly input: Buffer }> {
  const bytes = await readFile(path);
  return { number: bytes.readUInt32LE(0), input: bytes.subarray(8, 8 + bytes.readUInt32LE(4)) };
}

/** proc_pid_stat(5), in ticks of 10 ms and pages of 4 KiB. */
async function usageOf({ pid }: ChildProcess): Promise<{ readonly seconds: number; readonly memoryMiB: number }> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const [user = 0, system = 0, pages = 0] = [fields[11], fields[12], fields[21]];
  return { seconds: (user + system) / 100, memoryMiB: pages / 256 };
}
