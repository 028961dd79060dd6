/**
 * Loaded into the processes of tests by test/run.ts: each appends the processor time that it and
 * the programs that it started have used to the file PROCESSOR_TIMES, as a line
 * `<seconds> <test file>`. Programs that were left to others are not counted: containers, and the
 * shims of containerd.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

const path = process.env['PROCESSOR_TIMES'];
delete process.env['PROCESSOR_TIMES']; // programs of the test may be Node with the same preload
const [, program] = process.argv;

if (isMainThread && path !== undefined && program !== undefined)
  process.once('exit', () => appendFileSync(path, `${usedSeconds()} ${program}\n`));

/** proc(5): utime, stime, cutime and cstime in ticks, of which there are 100 a second. */
function usedSeconds(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}
