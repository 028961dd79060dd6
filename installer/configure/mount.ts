import { access, readFile, realpath } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { harmlessMount, makeMountDirectory, sweepMounts } from '../../tools/mount-directory.ts';
import { runTool } from '../../tools/run-tool.ts';
import { codeOf } from '../disk/in-use.ts';
import { ConfigurationError } from './errors.ts';
import { attachLoop, type Range } from './loop.ts';

/** File systems of the partitions that get the configuration. */
export type Filesystem = 'btrfs' | 'ext4';

export interface MountedPartition extends AsyncDisposable {
  /** Only root can access it. */
  readonly directory: string;
}

/** What is mounted of a disk, and how. */
export interface MountOptions {
  readonly filesystem: Filesystem;
  /** Default: false */
  readonly readOnly?: boolean;
  /** Of the file system. */
  readonly options?: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/**
 * Mounts a range of the disk through a loop device. This needs no device node of the partition and
 * no release of the claim. Disposing of it unmounts, which writes everything to the disk. None of
 * this can be interrupted: a tool killed halfway would leave a mount behind. The loop device ends
 * with the mount, also with that of a container that is killed: nothing else would detach it, and
 * the disk would be in use.
 * @throws {ToolError} a tool fails; {ConfigurationError} the kernel mounted another device
 */
export async function mountPartition(
  disk: { readonly path: string },
  partition: Range,
  { filesystem, readOnly = false, options = [], signal }: MountOptions,
): Promise<MountedPartition> {
  signal?.throwIfAborted();
  await using undo = new AsyncDisposableStack();
  const { path: directory } = undo.use(await makeMountDirectory(mountPrefix));
  const range = ['loop', `offset=${partition.offsetBytes}`, `sizelimit=${partition.sizeBytes}`];
  const all = [...range, readOnly ? 'ro' : 'rw', ...harmlessMount, ...options].join(',');
  const mount = async () => void (await runTool('mount', ['-t', filesystem, '-o', all, disk.path, directory]));
  try {
    await mount();
  } catch (error) {
    signal?.throwIfAborted();
    if (filesystem !== 'btrfs' || readOnly) throw error;
    // The kernel refuses a second btrfs with the UUID of a mounted one, for example if the running
    // system came from the same image.
    {
      await using loop = await attachLoop(disk.path, partition);
      await runTool('btrfstune', ['-f', '-u', loop.path]);
    }
    await mount();
  }
  undo.defer(async () => void (await runTool('umount', [directory])));
  await refuseOtherDevice(directory, disk.path, partition.offsetBytes);

  const cleanUp = undo.move();
  return { directory, [Symbol.asyncDispose]: () => cleanUp.disposeAsync() };
}

/** Of the names of directories on which partitions are mounted. */
export const mountPrefix = 'flatcar-install-mount';

/** Unmounts the partitions that installers which were killed have left mounted. */
export async function sweepPartitionMounts(): Promise<void> {
  await sweepMounts(mountPrefix);
}

/**
 * Whether `mountPartition` works here: there are loop devices, and the kernel has the file system
 * or can load its module.
 */
export async function canMount(filesystem: Filesystem): Promise<boolean> {
  const hasLoopDevices = await access('/dev/loop-control').then(
    () => true,
    () => false,
  );
  if (!hasLoopDevices) return false;
  const listed = async () => (await readFile('/proc/filesystems', 'utf8')).split(/\s/).includes(filesystem);
  if (await listed()) return true;
  // Fails without the module or without modprobe; the list shows the result.
  await runTool('modprobe', [filesystem], { timeoutSeconds: 30 }).catch(() => undefined);
  return await listed();
}

/**
 * Old kernels mount the first device that they saw with the UUID, which may be another disk.
 * Sources: proc(5), mountinfo; Documentation/ABI/testing/sysfs-block-loop of Linux.
 * @throws {ConfigurationError} what is mounted there is not this disk from this offset on
 */
export async function refuseOtherDevice(directory: string, disk: string, offsetBytes: number): Promise<void> {
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').map((line) => line.split(' '));
  const mounted = mounts.findLast((fields) => fields[4] === directory);
  // The fields from the separator on: type, source, options.
  const source = mounted?.[mounted.indexOf('-') + 2];
  if (source !== undefined && (await isLoopOf(source, disk, offsetBytes))) return;
  const why = `the kernel mounted ${source ?? 'nothing'} instead`;
  throw new ConfigurationError({
    what: 'mount',
    target: disk,
    why,
    hint: 'unmount the file system that has the same UUID',
  });
}

/** Names are compared without directories: a container may have /dev elsewhere. */
async function isLoopOf(device: string, disk: string, offsetBytes: number): Promise<boolean> {
  const read = async (name: string) =>
    (await readFile(join('/sys/class/block', basename(device), 'loop', name), 'utf8')).trim();
  try {
    const isDisk = basename(await read('backing_file')) === basename(await realpath(disk));
    return isDisk && (await read('offset')) === String(offsetBytes);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}
