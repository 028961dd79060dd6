/**
 * Runs all test files, or those that are named, four at a time: `node test/run.ts [FILE...]`. Those that take
 * long start first, because `node --test` starts files by name and then waits at the end for a
 * long one that it started last. The files that took longest are printed at the end.
 */

import { glob } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

/**
 * In the order in which they start. Files that mostly wait stand between those that need the
 * processor: virtual machines are emulated, and kill-anywhere starts hundreds of processes.
 */
const longest = [
  'agent/kill-anywhere.test.ts',
  'initramfs/boot.test.ts',
  'agent/outage.test.ts',
  'e2e/seed-image.test.ts',
  'sandbox/os-image/layout.test.ts',
  'initramfs/network.test.ts',
  'initramfs/agent-hosts.test.ts',
  'agent/runtime/container-runtime.test.ts',
  'initramfs/captain.test.ts',
  'agent/syslog/receivers.test.ts',
  'agent/runtime/hostname.test.ts',
  'agent/runtime/log-drivers.test.ts',
  'agent/runtime/flood.test.ts',
  'agent/runtime/containerd/pull.test.ts',
  'agent/runtime/images.test.ts',
  'agent/main.test.ts',
  'sandbox/machine.test.ts',
  'agent/faults.test.ts',
];

const here = import.meta.dirname;
const named = process.argv.slice(2).map((path) => resolve(path));
const files = named.length > 0 ? named : await allFiles();
const durations = new Map<string, number>();

const tests = run({
  files,
  concurrency: 4, // on two processors: tests wait for engines and servers a good part of their time
  execArgv: [`--import=${join(here, 'sandbox/ends-for-sure.ts')}`, '--test-timeout=480000'],
});
tests.on('test:fail', () => {
  process.exitCode = 1;
});
tests.on('test:summary', ({ file, duration_ms }) => {
  if (file !== undefined) durations.set(file, duration_ms / 1000);
});
for await (const text of tests.compose(spec)) process.stdout.write(text);
printLongest();

/** The longest first, then the others by name. */
async function allFiles(): Promise<string[]> {
  const found = await Array.fromAsync(glob('**/*.test.ts', { cwd: here }));
  const missing = longest.filter((file) => !found.includes(file));
  if (missing.length > 0) throw new Error(`test/run.ts names files that do not exist: ${missing.join(', ')}`);
  const others = found.filter((file) => !longest.includes(file)).sort();
  return [...longest, ...others].map((file) => join(here, file));
}

function printLongest(): void {
  const sorted = [...durations].sort(([, a], [, b]) => b - a).slice(0, 20);
  process.stdout.write('\nlongest files\n');
  for (const [file, seconds] of sorted)
    process.stdout.write(`${seconds.toFixed(1).padStart(7)} s  ${relative(here, file)}\n`);
}
