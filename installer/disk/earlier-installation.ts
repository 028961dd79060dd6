import { runTool } from '../../tools/run-tool.ts';
import type { Partition } from './gpt.ts';
import type { Disk } from './lsblk.ts';
import { readTable } from './read-table.ts';

/** A disk with an earlier installation of Flatcar. */
export interface EarlierInstallation {
  readonly path: string;
  /**
   * Completes the sentence "{path} …": "has the partitions USR-A, OEM of a Flatcar installation".
   */
  readonly sign: string;
}

/**
 * The GUID of every image, and so of every disk that has not been booted yet. Source: Flatcar's
 * build_library/disk_layout.json.
 */
const imageDiskGuid = '00000000-0000-0000-0000-000000000001';
const usrGuids: readonly string[] = ['7130c94a-213a-4e5a-8e26-6cce9662f132', 'e03dd35c-7c2d-4a47-b3fe-27f15780a57c'];
/**
 * Boot loader and initrd find these partitions by file system label and by partition label, on
 * any disk.
 */
const bootLabels: readonly string[] = ['ROOT', 'OEM', 'USR-A', 'USR-B'];

/**
 * Finds other disks with the names by which an installed Flatcar finds its partitions. They are the
 * same in every installation, so the machine may boot the kernel of one disk with the root of the
 * other (https://github.com/flatcar/Flatcar/issues/404).
 * @param target path of the disk to install to
 * @returns the disks found; those that cannot be read are left out
 */
export async function findEarlierInstallations(
  disks: readonly Disk[],
  target: string,
  signal?: AbortSignal,
): Promise<EarlierInstallation[]> {
  const wwn = disks.find((disk) => disk.path === target)?.wwn;
  const isSameStorage = (disk: Disk) => disk.path === target || (wwn !== undefined && disk.wwn === wwn);
  // Loop devices are gone at the next boot, and the firmware does not see devices on top of disks.
  const others = disks.filter((disk) => disk.type === 'disk' && disk.sizeBytes > 0 && !isSameStorage(disk));
  const signs = await Promise.all(
    others.map((disk) =>
      signOf(disk, signal).catch(() => {
        signal?.throwIfAborted();
        return undefined;
      }),
    ),
  );
  return others.flatMap(({ path }, index) => {
    const sign = signs[index];
    return sign === undefined ? [] : [{ path, sign }];
  });
}

async function signOf(disk: Disk, signal: AbortSignal | undefined): Promise<string | undefined> {
  const { table } = await readTable(disk);
  if (table === undefined) return describeLabel(await findLabelWithoutTable(disk, signal));
  const own = table.partitions.filter(
    ({ uniqueGuid, label }) => usrGuids.includes(uniqueGuid) || bootLabels.includes(label),
  );
  const labels = [...new Set(own.map(({ label, number }) => label || `#${number}`))];
  if (labels.length > 0)
    return `has the ${labels.length === 1 ? 'partition' : 'partitions'} ${labels.join(', ')} of a Flatcar installation`;
  if (table.diskGuid === imageDiskGuid) return 'has the disk GUID of a Flatcar image';
  for (const partition of table.partitions) {
    const label = await findBootLabel(disk.path, partition, signal);
    if (label !== undefined) return describeLabel(label);
  }
  return undefined;
}

function describeLabel(label: string | undefined): string | undefined {
  return label === undefined ? undefined : `has a file system with the label ${label} of a Flatcar installation`;
}

/** Checks a file system on the whole disk, and those on partitions of another kind of table. */
async function findLabelWithoutTable(disk: Disk, signal: AbortSignal | undefined): Promise<string | undefined> {
  for (const path of [disk.path, ...disk.partitions]) {
    const label = await probeLabel([path], signal);
    if (label !== undefined) return label;
  }
  return undefined;
}

/**
 * The label of the file system on a partition, if Flatcar boots by it. libblkid gets the offset of
 * the partition, so neither udev nor its device node is needed.
 */
export async function findBootLabel(
  path: string,
  { offsetBytes, sizeBytes }: Pick<Partition, 'offsetBytes' | 'sizeBytes'>,
  signal?: AbortSignal,
): Promise<string | undefined> {
  return await probeLabel(['--offset', String(offsetBytes), '--size', String(sizeBytes), path], signal);
}

async function probeLabel(location: readonly string[], signal: AbortSignal | undefined): Promise<string | undefined> {
  const args = ['--probe', '--output', 'value', '--match-tag', 'LABEL', ...location];
  // 2: nothing found; 8: ambivalent.
  const { stdout } = await runTool('blkid', args, { signal, timeoutSeconds: 30, acceptedExitCodes: [0, 2, 8] });
  return bootLabels.includes(stdout) ? stdout : undefined;
}
