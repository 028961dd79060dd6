import { access, readdir, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Clock } from '../../clock/clock.ts';
import { reasonOf } from '../../errors/reason.ts';
import { runTool, ToolError } from '../../tools/run-tool.ts';
import type { PartitionTable } from './gpt.ts';

/** How the kernel came to know a new partition table, or why it does not. */
export type Reread =
  | { readonly how: 'blockdev' | 'partx' | 'kpartx' }
  | { readonly how: 'failed'; readonly why: string };

/**
 * Has the kernel see the partitions that are on a disk now: asked to read the table itself, told them where it cannot (it was built
 * without GPT, or the device does not scan). Nobody may have claimed the disk. Works without udev, and waits for it only where it runs.
 */
export async function rereadPartitions(
  path: string,
  table: PartitionTable,
  clock: Clock,
  signal?: AbortSignal,
): Promise<Reread> {
  try {
    const byItself = (await askKernel(path, clock, signal)) && (await kernelAgrees(path, table));
    if (!byItself) await tellKernel(path, table, signal);
    if (!(await kernelAgrees(path, table)))
      return { how: 'failed', why: 'the kernel still has other partitions for it' };
    await settle(signal);
    return { how: byItself ? 'blockdev' : 'partx' };
  } catch (error) {
    signal?.throwIfAborted();
    return { how: 'failed', why: reasonOf(error) };
  }
}

/** Makes the kernel forget partitions whose table was removed. Best effort: they are in nobody's way. */
export async function forgetPartitions(path: string): Promise<void> {
  if ((await knownPartitions(path)).length === 0) return;
  await runTool('partx', ['--delete', path], { timeoutSeconds: 30 }).catch(() => undefined);
}

/**
 * As `rereadPartitions`, for a device of the device-mapper (multipath, LVM): the kernel reads no tables of these, and their partitions are devices of
 * the device-mapper themselves.
 */
export async function remapPartitions(path: string, signal?: AbortSignal): Promise<Reread> {
  try {
    // Without -n it waits for udev, which need not run here.
    await runTool('kpartx', ['-u', '-n', path], { signal, timeoutSeconds: 30 });
    await settle(signal);
    return { how: 'kpartx' };
  } catch (error) {
    signal?.throwIfAborted();
    return { how: 'failed', why: reasonOf(error) };
  }
}

/** Removes the devices of the partitions of such a device, which claim it. Best effort: those that are in use stay, and so does their claim. */
export async function unmapPartitions(path: string): Promise<void> {
  await runTool('kpartx', ['-d', '-n', path], { timeoutSeconds: 30 }).catch(() => undefined);
}

/** @returns false where the kernel cannot read tables of this device; throws when it remains busy. */
async function askKernel(path: string, clock: Clock, signal: AbortSignal | undefined): Promise<boolean> {
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

async function tellKernel(path: string, table: PartitionTable, signal: AbortSignal | undefined): Promise<void> {
  // Removing first, because partx updates what is in the table and leaves what is not.
  await forgetPartitions(path);
  // Without a range partx counts the partitions and stops at that number, though the numbers of Flatcar's have gaps (seen in 2.38).
  const last = Math.max(...table.partitions.map((partition) => partition.number));
  await runTool('partx', ['--update', '--nr', `1:${last}`, path], { signal, timeoutSeconds: 30 });
}

async function kernelAgrees(path: string, table: PartitionTable): Promise<boolean> {
  const wanted = table.partitions.map(({ number, offsetBytes, sizeBytes }) => `${number} ${offsetBytes} ${sizeBytes}`);
  const known = await knownPartitions(path);
  return known.toSorted().join() === wanted.toSorted().join();
}

/**
 * Number, offset and size in bytes of each partition that the kernel has.
 * @param sysfs where the kernel tells about block devices
 */
export async function knownPartitions(path: string, sysfs = '/sys/class/block'): Promise<string[]> {
  const directory = `${sysfs}/${basename(path)}`;
  const names = await readdir(directory).catch(() => []);
  const partitions = await Promise.all(
    names.map(async (name) => {
      const read = async (file: string) => Number(await readFile(`${directory}/${name}/${file}`, 'utf8'));
      // Not all that is below a disk is a partition: an eMMC has its boot areas there, which are disks.
      const number = await read('partition').catch(() => undefined);
      if (number === undefined) return [];
      // The kernel counts in 512 bytes whatever the sectors of the disk are.
      return [`${number} ${(await read('start')) * 512} ${(await read('size')) * 512}`];
    }),
  );
  return partitions.flat();
}

/** Lets udev make its links. Where it does not run, `udevadm settle` waits in vain, so it is not asked. */
async function settle(signal: AbortSignal | undefined): Promise<void> {
  const running = await access('/run/udev/control').then(
    () => true,
    () => false,
  );
  if (!running) return;
  await runTool('udevadm', ['settle', '--timeout=10'], { signal, timeoutSeconds: 15 }).catch(() => undefined);
}
