import { reasonOf } from '../../errors/reason.ts';
import { findPartition, type Partition } from '../disk/gpt.ts';
import type { TargetDisk } from '../disk/target-disk.ts';
import { editBtrfs } from './btrfs-rewrite.ts';
import { ConfigurationError } from './errors.ts';
import { canMount, type Filesystem, mountPartition } from './mount.ts';
import type { Way } from './rehearsal.ts';
import { filesystemOf, startBytes } from './superblock.ts';

/** Changes files below `root`, the top directory of a file system. */
export type Edit = (root: string) => Promise<void>;

/**
 * Changes files on the partition with this label of exactly this disk. It is found in the partition
 * table of the disk, so it needs neither udev nor device nodes, is not confused by another disk
 * with the same labels, and works before the table is on the disk.
 * @param way of changing a btrfs. Default: rewritten in user space if the kernel has no btrfs or no
 *   loop devices
 * @throws {DiskError} there is no such partition; {ConfigurationError} it cannot be changed
 */
export async function editPartition(
  disk: TargetDisk,
  label: string,
  edit: Edit,
  signal?: AbortSignal,
  way?: Way,
): Promise<void> {
  const partition = findPartition(await disk.readTable(), label, disk.path);
  const filesystem = await readFilesystem(disk, partition);
  const target = `partition ${partition.number} (${label}) of ${disk.path}`;
  if (filesystem === undefined) {
    throw new ConfigurationError({ what: 'change files on', target, why: 'its file system is neither btrfs nor ext4' });
  }
  try {
    if (way === 'reproduce' && filesystem !== 'btrfs') {
      const why = `its file system is ${filesystem}, which cannot be changed without mounting it`;
      throw new ConfigurationError({
        what: 'change files on',
        target,
        why,
        hint: 'attach the file to a loop device (losetup), and give that with -d',
      });
    }
    if (filesystem === 'btrfs' && (way === 'reproduce' || way === 'rewrite' || !(await canMount('btrfs')))) {
      await editBtrfs(disk, partition, edit, signal, way === 'reproduce');
    } else {
      // As the original: a ROOT on btrfs has its files in a subvolume.
      const options = filesystem === 'btrfs' && label === 'ROOT' ? ['subvol=root'] : [];
      await using mounted = await mountPartition(disk, partition, { filesystem, options, signal });
      await edit(mounted.directory);
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof ConfigurationError) throw error;
    throw new ConfigurationError({ what: 'change files on', target, why: reasonOf(error), cause: error });
  }
  await disk.sync();
}

/** `undefined`: neither btrfs nor ext4. */
export async function readFilesystem(disk: TargetDisk, partition: Partition): Promise<Filesystem | undefined> {
  return filesystemOf(await disk.read(partition.offsetBytes, startBytes))?.kind;
}
