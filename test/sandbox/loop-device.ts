import { mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { execa } from 'execa';

export interface LoopDeviceOptions {
  readonly sizeBytes: number;
  /** Default: 512. */
  readonly sectorSizeBytes?: 512 | 4096;
  readonly readOnly?: boolean;
  /** A file that the device starts with a copy of. Default: zeroes. */
  readonly contents?: string;
  /** Where the backing file is made. Default: the system's directory for temporary files. */
  readonly directory?: string;
}

/** A block device of the test's own, backed by a sparse file. Needs root. */
export interface LoopDevice extends AsyncDisposable {
  readonly path: string;
  /** The file behind it: the same bytes, without the kernel's view of a device. */
  readonly backingPath: string;
  readonly sizeBytes: number;
}

/**
 * Attaches a new sparse file to a free loop device; disposing of it detaches and removes both, with
 * the partitions made known since.
 */
export async function createLoopDevice(options: LoopDeviceOptions): Promise<LoopDevice> {
  const directory = await mkdtemp(join(options.directory ?? tmpdir(), 'nibs-loop-'));
  const backingPath = join(directory, 'disk.img');
  if (options.contents !== undefined) await execa('cp', ['--sparse=always', options.contents, backingPath]);
  const file = await open(backingPath, 'a');
  await file.truncate(options.sizeBytes);
  await file.close();
  const sectors = ['--sector-size', String(options.sectorSizeBytes ?? 512)];
  const access = options.readOnly === true ? ['--read-only'] : [];
  const path = (await execa('losetup', ['--find', '--show', ...sectors, ...access, backingPath])).stdout;
  // Those of an earlier file that this device had, if one was open when that was detached.
  await forgetPartitions(path);
  return {
    path,
    backingPath,
    sizeBytes: options.sizeBytes,
    async [Symbol.asyncDispose]() {
      // Detaching does not remove those that partx made.
      await forgetPartitions(path);
      await execa('losetup', ['--detach', path]);
      await rm(directory, { recursive: true });
    },
  };
}

/** Makes the kernel forget the partitions of a device that are not in use; none is no error. */
export async function forgetPartitions(path: string): Promise<void> {
  const name = basename(path);
  const entries = await readdir(`/sys/class/block/${name}`);
  if (entries.some((entry) => entry.startsWith(`${name}p`)))
    await execa('partx', ['--delete', path], { reject: false });
}
