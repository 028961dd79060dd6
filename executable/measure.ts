/** Prints the executable's size, and the time from its start to its end under each of its names: `node executable/measure.ts [build/nibs-linux-x64]`. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const runs = 15;
const executable = resolve(process.argv[2] ?? join(import.meta.dirname, `../build/nibs-linux-${process.arch}`));

process.stdout.write(`size: ${statSync(executable).size} bytes\n`);
const directory = mkdtempSync(join(tmpdir(), 'nibs-measure-'));
try {
  for (const command of [
    ['tink-agent', '--version'],
    ['tink-agent', '--help'],
    ['flatcar-install', '--help'],
  ] as const) {
    const [name, argument] = command;
    const link = join(directory, name);
    rmSync(link, { force: true });
    symlinkSync(executable, link);
    process.stdout.write(
      `${command.join(' ')}: ${median(Array.from({ length: runs }, () => millisecondsOf(link, argument))).toFixed(0)} ms\n`,
    );
  }
} finally {
  rmSync(directory, { recursive: true });
}

function millisecondsOf(program: string, argument: string): number {
  const startedAt = performance.now();
  const { status, stderr } = spawnSync(program, [argument], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${argument} ended with code ${status}: ${stderr}`);
  return performance.now() - startedAt;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
