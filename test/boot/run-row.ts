import { rm } from 'node:fs/promises';
import type { Machine } from '../sandbox/machine.ts';
import { startMachine } from '../sandbox/machine.ts';
import { whileProgressing } from '../sandbox/progress-limits.ts';
import { makeEmptyDisk, prepare, serverScript } from './prepare.ts';
import type { Row } from './rows.ts';
import { machineMac, type Site, startSite } from './site.ts';
import { stories } from './stories.ts';

/** What the kernel prints when it has started, and when Secure Boot has locked it down. */
const started = /Linux version/;
const lockedDown = /Kernel is locked down from EFI Secure Boot/;

/**
 * Starts the machine of a row and waits for what it must come to.
 *
 * @param directory exists and is empty; keeps the logs
 * @param tap the cable of the machine's card, in this network namespace
 * @returns seconds from power-on
 * @throws {Error} it came to something else
 */
export async function runRow(row: Row, directory: string, tap: string, signal: AbortSignal): Promise<number> {
  const { until } = row;
  if (typeof until === 'string' && until !== 'first poll' && until !== 'success') {
    const startedAt = performance.now();
    await stories[until]({ row, directory, tap, signal });
    return (performance.now() - startedAt) / 1000;
  }
  const { machine: way, served, action } = await prepare(row, directory);
  const empty = await makeEmptyDisk(directory, row.disk);
  await using site = await startSite(directory, served, action === undefined ? [] : [action]);
  const poweredOnAt = performance.now();
  await using machine = await startMachine({
    ...{ name: 'machine', directory, firmware: row.firmware, memoryMiB: row.memoryMiB, endsOnReboot: true, signal },
    ...(row.enrolledKeys === undefined ? {} : { enrolledKeys: row.enrolledKeys }),
    ...way,
    disks: [...way.disks, empty],
    cards: [
      { mac: machineMac, model: row.card, optionRom: startsByIpxe(row), network: { kind: 'tap', interface: tap } },
    ],
  });
  await whileProgressing(machine, { tap, signal }, async (limit) => {
    await waitUntil(row, machine, site, limit);
    // A script of a server opens no shell.
    const hasShell = serverScript(row) === undefined;
    if (row.until === 'first poll' && hasShell) await findDisk(diskName(row, way.disks.length), machine, limit);
  });
  const seconds = (performance.now() - poweredOnAt) / 1000;
  await machine[Symbol.asyncDispose]();
  for (const { path } of [...way.disks, empty]) await rm(path);
  return seconds;
}

/** In the shell of the serial console. */
async function findDisk(name: string, machine: Machine, signal: AbortSignal): Promise<void> {
  machine.type(`\nuntil ls /dev/disk/by-id | grep -e '${name}'; do sleep 0.1; done; echo found "it"\n`);
  await machine.console.waitForLine(/found it$/, { signal });
}

function startsByIpxe({ way }: Row): boolean {
  return way === 'ipxe' || way === 'ipxe-uki';
}

/** The name of the empty disk in /dev/disk/by-id, by its bus and its place in the machine. */
function diskName({ disk }: Row, position: number): string {
  // QEMU's card has no serial number of its own.
  return disk === 'sd' ? 'mmc-' : `disk${position}`;
}

async function waitUntil({ until, firmware }: Row, machine: Machine, site: Site, signal: AbortSignal): Promise<void> {
  const isPrinted = (pattern: RegExp) => machine.console.lines.some(({ text }) => pattern.test(text));
  if (until instanceof RegExp) {
    await machine.console.waitForLine(until, { signal });
    if (isPrinted(started)) throw new Error('the kernel has started');
    return;
  }
  await (until === 'success' ? site.waitForSuccess(signal) : site.waitForPoll(signal));
  if (isPrinted(lockedDown) !== (firmware === 'secure-boot'))
    throw new Error(`the kernel is ${firmware === 'secure-boot' ? 'not ' : ''}locked down`);
}
