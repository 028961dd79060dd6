/**
 * The executable's size, and the time from its start to its end under each of its names:
 * `node test/bench/executable.ts [build/nibs-linux-x64]`. With BENCH_JSON=path the figures are also
 * written there as rows.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempDisposableSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { alone, type Row, writeRows } from './rows.ts';

const runs = 15;
const executable = resolve(process.argv[2] ?? join(import.meta.dirname, `../../build/nibs-linux-${process.arch}`));

const sizeBytes = statSync(executable).size;
process.stdout.write(`size: ${sizeBytes} bytes\n`);
const rows: Row[] = [alone('executable', 'size', 'bytes', sizeBytes)];
using directory = mkdtempDisposableSync(join(tmpdir(), 'nibs-measure-'));
for (const command of [
  ['tink-agent', '--version'],
  ['tink-agent', '--help'],
  ['flatcar-install', '--help'],
] as const) {
  const [name, argument] = command;
  const link = join(directory.path, name);
  rmSync(link, { force: true });
  symlinkSync(executable, link);
  const milliseconds = median(Array.from({ length: runs }, () => millisecondsOf(link, argument)));
  process.stdout.write(`${command.join(' ')}: ${milliseconds.toFixed(0)} ms\n`);
  rows.push(alone('executable', command.join(' '), 's', milliseconds / 1000));
}
await writeRows(rows);

function millisecondsOf(program: string, argument: string): number {
  const startedAt = performance.now();
  const { status, stderr } = spawnSync(program, [argument], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${argument} ended with code ${status}: ${stderr}`);
  return performance.now() - startedAt;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
