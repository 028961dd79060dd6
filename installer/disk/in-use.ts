import { constants, open, readdir, readFile, realpath } from 'node:fs/promises';
import type { Clock } from '../../clock/clock.ts';
import { comparePaths, type DiskUse } from './lsblk.ts';

/**
 * Error of an exclusive open of a block device that is mounted or held, or has such a partition.
 */
const claimedCode = 'EBUSY';

/**
 * Whether the block device is held exclusively: by a mount (in any mount namespace), a device on
 * top of it, another installer. A device that cannot be opened for another reason counts as not
 * claimed; opening it for writing reports the reason. Source: open(2), O_EXCL on a block device.
 */
export async function isClaimed(path: string, clock: Clock): Promise<boolean> {
  // A partition scan claims the device for some milliseconds.
  for (let attempt = 1; attempt <= 3; attempt++) {
    try {
      const handle = await open(path, constants.O_RDONLY | constants.O_EXCL | constants.O_NONBLOCK);
      await handle.close();
      return false;
    } catch (error) {
      if (codeOf(error) !== claimedCode) return false;
      if (attempt < 3) await clock.wait(0.1);
    }
  }
  return true;
}

/**
 * The loop devices that are backed by this device: a use that does not claim it and that lsblk does
 * not show.
 */
export async function backingLoops(path: string): Promise<DiskUse[]> {
  const names = (await readdir('/sys/block').catch(() => [])).filter((name) => name.startsWith('loop'));
  const uses: DiskUse[] = [];
  for (const name of names.toSorted(comparePaths)) {
    // The file exists only while something is attached.
    const backing = await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '');
    if (backing === '' || !backing.startsWith('/dev/')) continue;
    const backed = await realpath(backing.trim()).catch(() => backing.trim());
    if (backed === path) uses.push({ kind: 'held', device: path, by: `/dev/${name} (loop)` });
  }
  return uses;
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
