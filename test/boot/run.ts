/**
 * Boots virtual machines in every way of rows.ts, one after the other, and prints a table of what
 * they came to. The exit code is 1 if one came to something else.
 *
 *     node test/boot/run.ts [ROW…]
 *
 * Needs root, and `make iso netboot images os-image`. The logs of a row are in
 * build/test-boot/<row>.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { table } from '../e2e/table.ts';
import { createSandboxNetwork } from '../sandbox/network.ts';
import { type Row, rows } from './rows.ts';
import { runRow } from './run-row.ts';
import { siteAddress } from './site.ts';
import { fetchSshServer } from './ssh-login.ts';

const directory = resolve(import.meta.dirname, '../../build/test-boot');

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    /** Set when this program runs itself inside the network namespace: the machine's cable. */
    'inside-with-tap': { type: 'string' },
  },
});
const tap = values['inside-with-tap'];
const chosen = positionals.length === 0 ? rows : positionals.map(findRow);
process.exitCode = tap === undefined ? await main() : await runRows(chosen, tap);

/** @throws {Error} there is none */
function findRow(name: string): Row {
  const found = rows.find((row) => row.name === name);
  if (found !== undefined) return found;
  throw new Error(`no row ${name} (there are ${rows.map((row) => row.name).join(', ')})`);
}

/** Makes the network and runs this program in it. Inside, nothing can be downloaded any more. */
async function main(): Promise<number> {
  if (chosen.some(({ until }) => until === 'ssh login')) await fetchSshServer();
  await using network = await createSandboxNetwork({ name: 'nibs-boot', address: `${siteAddress}/29` });
  const again = [import.meta.filename, '--inside-with-tap', await network.addTap(), ...positionals];
  const inside = execa('ip', ['netns', 'exec', network.namespace, process.execPath, ...again], {
    ...{ stdio: 'inherit', reject: false },
  });
  const stop = (signal: NodeJS.Signals) => void inside.kill(signal);
  process.on('SIGINT', stop).on('SIGTERM', stop);
  const { exitCode } = await inside;
  return exitCode ?? 1;
}

async function runRows(chosen: readonly Row[], tap: string): Promise<number> {
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.once(name, () => stop.abort(new Error(`interrupted by ${name}`)));
  const results: string[][] = [];
  let failures = 0;
  for (const row of chosen) {
    if (stop.signal.aborted) break;
    const result = await run(row, tap, stop.signal);
    if (!result.isGood) failures += 1;
    const { name, firmware, way, card, disk, memoryMiB, architecture } = row;
    const cells = [firmware, way, card, disk, String(memoryMiB), architecture, result.text];
    process.stdout.write(`${name}: ${result.text}\n`);
    results.push([name, ...cells]);
  }
  process.stdout.write(table(['row', 'firmware', 'way', 'card', 'disk', 'MiB', 'architecture', 'result'], results));
  return failures > 0 || stop.signal.aborted ? 1 : 0;
}

async function run(row: Row, tap: string, signal: AbortSignal): Promise<{ isGood: boolean; text: string }> {
  const ofRow = join(directory, row.name);
  await rm(ofRow, { recursive: true, force: true });
  await mkdir(ofRow, { recursive: true });
  try {
    const seconds = await runRow(row, ofRow, tap, signal);
    const what = row.until instanceof RegExp ? 'refused' : row.until;
    return { isGood: true, text: `${what} after ${seconds.toFixed(1)} s` };
  } catch (error) {
    process.stderr.write(`${row.name}: ${error instanceof Error ? error.stack : String(error)}\n`);
    const [reason = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
    return { isGood: false, text: `FAILED: ${reason}` };
  }
}
