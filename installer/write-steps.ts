import type { TargetDisk } from './disk/target-disk.ts';
import type { WrittenImage } from './disk/write.ts';
import type { Report } from './progress.ts';

/**
 * A failure between the first change of the disk and the commit leaves it without a partition
 * table; the error says so.
 */
export async function untilCommitted<T>(disk: TargetDisk, signal: AbortSignal, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    throw await disk.abandon(cause, signal);
  }
}

/** If that was asked for when the image was written. */
export async function readBack(image: WrittenImage, disk: TargetDisk, report: Report): Promise<void> {
  if (image.readBack === undefined) return;
  report.phase('verify', `Reading back ${disk.path}`);
  await image.readBack((doneBytes) => report.transferred(doneBytes, image.sizeBytes));
}

/** The disk is complete: a failure is a warning. */
export async function rescanTable(disk: TargetDisk, report: Report): Promise<void> {
  report.phase('finish', `Rescanning the partition table of ${disk.path}`);
  const rescan = await disk.rescanPartitions();
  if (rescan.how === 'failed')
    report.warn(`this system does not see the new partitions (${rescan.why}); the installation itself is complete`);
  else report.detail(`rescanned with ${rescan.how}`);
}
