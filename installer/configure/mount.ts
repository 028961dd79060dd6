import { access, readFile } from 'node:fs/promises';
import { harmlessMount, makeMountDirectory, sweepMounts } from '../../tools/mount-directory.ts';
import { runTool } from '../../tools/run-tool.ts';
import type { Partition } from '../disk/gpt.ts';
import { ConfigurationError } from './errors.ts';

/** File systems of the partitions that get the configuration. */
export type Filesystem = 'btrfs' | 'ext4';

export interface MountedPartition extends AsyncDisposable {
  /** Only root can access it. */
  readonly directory: string;
}

/**
 * Mounts a range of the disk through a loop device. This needs no device node of the partition and
 * no release of the claim. Disposing of it unmounts, which writes everything to the disk. None of
 * this can be interrupted: a tool killed halfway would leave loop devices and mounts behind.
 * @throws {ToolError} a tool fails; {ConfigurationError} the kernel mounted another device
 */
export async function mountPartition(
  disk: { readonly path: string },
  partition: Pick<Partition, 'offsetBytes' | 'sizeBytes'>,
  filesystem: Filesystem,
  options: readonly string[] = [],
  signal?: AbortSignal,
): Promise<MountedPartition> {
  signal?.throwIfAborted();
  await using undo = new AsyncDisposableStack();
  const range = ['--offset', String(partition.offsetBytes), '--sizelimit', String(partition.sizeBytes)];
  const loop = (await runTool('losetup', ['--find', '--show', ...range, disk.path])).stdout;
  undo.defer(async () => void (await runTool('losetup', ['--detach', loop])));
  const { path: directory } = undo.use(await makeMountDirectory(mountPrefix));

  const args = ['-t', filesystem, '-o', ['rw', ...harmlessMount, ...options].join(','), loop, directory];
  const mount = async () => void (await runTool('mount', args));
  try {
    await mount();
  } catch (error) {
    signal?.throwIfAborted();
    if (filesystem !== 'btrfs') throw error;
    // The kernel refuses a second btrfs with the UUID of a mounted one, for example if the running
    // system came from the same image.
    await runTool('btrfstune', ['-f', '-u', loop]);
    await mount();
  }
  undo.defer(async () => void (await runTool('umount', [directory])));
  await refuseOtherDevice(directory, loop);

  const cleanUp = undo.move();
  return { directory, [Symbol.asyncDispose]: () => cleanUp.disposeAsync() };
}

/** Of the names of directories on which partitions are mounted. */
export const mountPrefix = 'flatcar-install-mount';

/** Unmounts the partitions that installers which were killed have left mounted. */
export async function sweepPartitionMounts(): Promise<void> {
  for (const source of await sweepMounts(mountPrefix)) {
    if (source.startsWith('/dev/loop')) await runTool('losetup', ['--detach', source]);
  }
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
 * Source: proc(5), mountinfo.
 */
export async function refuseOtherDevice(directory: string, device: string): Promise<void> {
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').map((line) => line.split(' '));
  const mounted = mounts.findLast((fields) => fields[4] === directory);
  // The fields from the separator on: type, source, options.
  const source = mounted?.[mounted.indexOf('-') + 2];
  if (source === device) return;
  const why = `the kernel mounted ${source ?? 'nothing'} instead`;
  throw new ConfigurationError({
    what: 'mount',
    target: device,
    why,
    hint: 'unmount the file system that has the same UUID',
  });
}
