/**
 * Preloaded into an agent that is watched, with `--expose-gc`. At SIGUSR2 it collects garbage and
 * prints what is left, in bytes; at SIGWINCH it writes a heap snapshot into the directory
 * HEAP_SNAPSHOTS and prints its path. Each is a line of JSON on standard error.
 */
import { join } from 'node:path';
import { writeHeapSnapshot } from 'node:v8';

let snapshots = 0;

process.on('SIGUSR2', () => {
  globalThis.gc?.();
  const { heapUsed, rss } = process.memoryUsage();
  print({ heapUsed, rss });
});

process.on('SIGWINCH', () => {
  snapshots += 1;
  print({ snapshot: writeHeapSnapshot(join(process.env['HEAP_SNAPSHOTS'] ?? '.', `${snapshots}.heapsnapshot`)) });
});

function print(found: object): void {
  process.stderr.write(`${JSON.stringify(found)}\n`);
}
