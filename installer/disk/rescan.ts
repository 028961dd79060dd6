import { access, readdir, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Clock } from '../../clock/clock.ts';
import { reasonOf } from '../../errors/reason.ts';
import { runTool, ToolError } from '../../tools/run-tool.ts';
import type { PartitionTable } from './gpt.ts';

/** The tool by which the kernel has the new partition table, or the reason why it has not. */
export type Rescan =
  | { readonly how: 'blockdev' | 'partx' | 'kpartx' }
  | { readonly how: 'failed'; readonly why: string };

/**
 * Makes the kernel use the partition table that is on a disk now. The kernel reads the table
 * itself, or partx reads it if the kernel cannot (built without GPT, or a device without partition
 * scan). The disk must not be claimed. Works without udev, and waits for it only if it runs.
 * @param table that of the disk; `undefined` if it has no GPT: then it may have another table, or
 *   none
 */
export async function rescanPartitions(
  path: string,
  table: PartitionTable | undefined,
  clock: Clock,
  signal?: AbortSignal,
): Promise<Rescan> {
  try {
    if (table === undefined) return await rescanAnyTable(path, clock, signal);
    const wasRead = (await rescanWithBlockdev(path, clock, signal)) && (await hasPartitions(path, table));
    if (!wasRead) await rescanWithPartx(path, table, signal);
    if (!(await hasPartitions(path, table)))
      return { how: 'failed', why: 'the kernel still has other partitions for it' };
    await settle(signal);
    return { how: wasRead ? 'blockdev' : 'partx' };
  } catch (error) {
    signal?.throwIfAborted();
    return { how: 'failed', why: reasonOf(error) };
  }
}

async function rescanAnyTable(path: string, clock: Clock, signal: AbortSignal | undefined): Promise<Rescan> {
  const wasRead = await rescanWithBlockdev(path, clock, signal);
  if (!wasRead) {
    await forgetPartitions(path);
    const shown = await runTool('partx', ['--show', '--noheadings', path], { acceptedExitCodes: [0, 1], signal });
    if (shown.stdout.trim() !== '') await runTool('partx', ['--add', path], { signal, timeoutSeconds: 30 });
  }
  await settle(signal);
  return { how: wasRead ? 'blockdev' : 'partx' };
}

/** Makes the kernel forget partitions whose table was removed. Best effort: they do no harm. */
export async function forgetPartitions(path: string): Promise<void> {
  if ((await knownPartitions(path)).length === 0) return;
  await runTool('partx', ['--delete', path], { timeoutSeconds: 30 }).catch(() => undefined);
}

/**
 * As `rescanPartitions`, for a device-mapper device (multipath, LVM): the kernel reads no partition
 * tables there, and partitions are device-mapper devices too.
 */
export async function remapPartitions(path: string, signal?: AbortSignal): Promise<Rescan> {
  try {
    // Without -n it waits for udev, which may not run here.
    await runTool('kpartx', ['-u', '-n', path], { signal, timeoutSeconds: 30 });
    await settle(signal);
    return { how: 'kpartx' };
  } catch (error) {
    signal?.throwIfAborted();
    return { how: 'failed', why: reasonOf(error) };
  }
}

/**
 * Removes the partition devices of such a device, which claim it. Best effort: those in use stay,
 * and so does their claim.
 */
export async function unmapPartitions(path: string): Promise<void> {
  await runTool('kpartx', ['-d', '-n', path], { timeoutSeconds: 30 }).catch(() => undefined);
}

/** @returns false if the kernel cannot read partition tables of this device, or it stays busy */
async function rescanWithBlockdev(path: string, clock: Clock, signal: AbortSignal | undefined): Promise<boolean> {
  const attempts = 20;
  for (let attempt = 1; ; attempt++) {
    try {
      await runTool('blockdev', ['--rereadpt', path], { signal, timeoutSeconds: 30 });
      return true;
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
      // udev and its probes hold a disk for a moment after each change.
      if (!error.stderr.includes('busy') || attempt === attempts) return false;
      await clock.wait(0.1, signal);
    }
  }
}

async function rescanWithPartx(path: string, table: PartitionTable, signal: AbortSignal | undefined): Promise<void> {
  // Removed first, because partx updates the partitions in the table and leaves the others.
  await forgetPartitions(path);
  // Without a range partx stops at the number of partitions, although Flatcar's numbers have gaps
  // (seen in 2.38).
  const last = Math.max(...table.partitions.map((partition) => partition.number));
  await runTool('partx', ['--update', '--nr', `1:${last}`, path], { signal, timeoutSeconds: 30 });
}

async function hasPartitions(path: string, table: PartitionTable): Promise<boolean> {
  const wanted = table.partitions.map(({ number, offsetBytes, sizeBytes }) => `${number} ${offsetBytes} ${sizeBytes}`);
  const known = await knownPartitions(path);
  return known.toSorted().join() === wanted.toSorted().join();
}

/**
 * Number, offset and size in bytes of each partition that the kernel has.
 * @param sysfs directory of the block devices in sysfs
 */
export async function knownPartitions(path: string, sysfs = '/sys/class/block'): Promise<string[]> {
  const directory = `${sysfs}/${basename(path)}`;
  const names = await readdir(directory).catch(() => []);
  const partitions = await Promise.all(
    names.map(async (name) => {
      const read = async (file: string) => Number(await readFile(`${directory}/${name}/${file}`, 'utf8'));
      // Not every directory of a disk is a partition: the boot areas of an eMMC are disks.
      const number = await read('partition').catch(() => undefined);
      if (number === undefined) return [];
      // The kernel counts in units of 512 bytes for every sector size.
      return [`${number} ${(await read('start')) * 512} ${(await read('size')) * 512}`];
    }),
  );
  return partitions.flat();
}

/**
 * Waits for udev's links. Without udev, `udevadm settle` would only time out, so it is not called.
 */
async function settle(signal: AbortSignal | undefined): Promise<void> {
  const running = await access('/run/udev/control').then(
    () => true,
    () => false,
  );
  if (!running) return;
  await runTool('udevadm', ['settle', '--timeout=10'], { signal, timeoutSeconds: 15 }).catch(() => undefined);
}
