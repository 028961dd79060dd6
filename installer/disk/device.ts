import { constants, type FileHandle, open, realpath, stat } from 'node:fs/promises';
import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import { reasonOf } from '../../errors/reason.ts';
import { DiskError } from './errors.ts';
import type { Hint } from './hints.ts';
import { describeImageFile, isImageFile, openImageFile } from './image-file.ts';
import { codeOf } from './in-use.ts';
import { remapPartitions, unmapPartitions } from './rescan.ts';
import { type Disk, describeUse, findNever, formatGigabytes, inspectDevice } from './select.ts';
import { isMapped, TargetDisk } from './target-disk.ts';

export interface OpenOptions {
  /** The disk must be at least this large. Default: not checked. */
  readonly imageSizeBytes?: number | undefined;
  /** The disk must be larger than this. Default: not checked. */
  readonly minBytes?: number | undefined;
  /** The disk must match none of these. Default: none. */
  readonly never?: readonly Hint[] | undefined;
  /** The image need not be made for sectors of 512 bytes. Default: false. */
  readonly anySectorSize?: boolean | undefined;
  /** The path may be that of a file, which gets this size. Default: it must be a device. */
  readonly file?: { readonly sizeBytes?: number | undefined } | undefined;
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Sector size of the image's partition table. */
const imageSectorBytes = 512;
/**
 * Checks that a disk may be overwritten and opens it exclusively: from here on it cannot be
 * mounted. Nothing is changed yet.
 * @param path of the device or of a link to it (/dev/disk/by-id/…)
 * @throws {DiskError} it is not a whole disk, is in use, read-only, too small, or its sectors do
 *   not have 512 bytes
 */
export async function openDisk(path: string, options: OpenOptions = {}): Promise<TargetDisk> {
  const disk = await findDisk(path, options);
  refuseUnsuitable(path, disk, options);
  if (disk.type === 'file') return await openFile(disk, options);
  const hadMaps = isMapped(disk) && disk.partitions.length > 0;
  if (hadMaps) await unmapPartitions(disk.path);
  try {
    const { clock = systemClock, signal } = options;
    return new TargetDisk(disk, await claim(path, disk, clock, signal), clock);
  } catch (error) {
    if (hadMaps) await remapPartitions(disk.path);
    throw error;
  }
}

async function openFile(disk: Disk, { clock = systemClock }: OpenOptions): Promise<TargetDisk> {
  const { file, isNew } = await openImageFile(disk);
  return new TargetDisk(disk, file, clock, isNew);
}

/**
 * The same checks as `openDisk`, without claiming the disk, for a dry run.
 * @throws {DiskError} as `openDisk`
 */
export async function checkDisk(path: string, options: OpenOptions = {}): Promise<Disk> {
  const disk = await findDisk(path, options);
  refuseUnsuitable(path, disk, options);
  return disk;
}

async function findDisk(path: string, { clock = systemClock, file, signal }: OpenOptions): Promise<Disk> {
  if (file !== undefined && (await isImageFile(path))) return await describeImageFile(path, file.sizeBytes);
  const refuse = (why: string, hint?: string, cause?: unknown) =>
    new DiskError({ what: 'install to', target: path, why, hint, cause });
  const listHint = 'list the disks with --list-disks';
  let device: string;
  try {
    device = await realpath(path);
    if (!(await stat(device)).isBlockDevice()) throw refuse('it is not a block device', listHint);
  } catch (error) {
    if (error instanceof DiskError) throw error;
    throw refuse(codeOf(error) === 'ENOENT' ? 'there is no such device' : reasonOf(error), listHint, error);
  }
  const disk = await inspectDevice(device, clock, signal);
  if (disk === undefined) throw refuse('it is a partition, not a full disk', 'give the disk that it is part of');
  return { ...disk, path: device };
}

function refuseUnsuitable(
  path: string,
  disk: Disk,
  { imageSizeBytes, minBytes, never, anySectorSize = false }: OpenOptions,
): void {
  const refuse = (why: string, hint?: string) => new DiskError({ what: 'install to', target: path, why, hint });
  const forbidden = findNever(disk, never);
  if (forbidden !== undefined)
    throw refuse(`it matches --never ${forbidden.text}`, 'choose another disk with -d, or leave out --never');
  // The types that the original accepts.
  if (!['disk', 'mpath', 'loop', 'lvm', 'file'].includes(disk.type))
    throw refuse(`it is of type ${disk.type}, not a full disk`);
  if (disk.sizeBytes === 0) throw refuse('it has no medium, or nothing is attached to it');
  if (disk.readOnly) throw refuse('it is read-only');
  const [use] = disk.uses;
  if (use !== undefined) {
    const hints = {
      mounted: 'unmount it',
      swap: `run swapoff ${use.device}`,
      held: 'deactivate that',
      claimed: 'stop the other program',
    };
    throw refuse(describeUse(use, disk), `${hints[use.kind]}, or choose another disk with -d`);
  }
  if (!anySectorSize && disk.sectorSizeBytes !== imageSectorBytes) {
    throw refuse(
      `its sectors have ${disk.sectorSizeBytes} bytes, but the image needs sectors of ${imageSectorBytes}`,
      'choose another disk, or reformat it to 512-byte sectors if it can do that (nvme format)',
    );
  }
  if (minBytes !== undefined && disk.sizeBytes <= minBytes) {
    throw refuse(
      `its size is ${formatGigabytes(disk.sizeBytes)}, but it must be larger than ${formatGigabytes(minBytes)}`,
      'choose a larger disk with -d, or give a smaller --min-size',
    );
  }
  if (imageSizeBytes !== undefined && imageSizeBytes > disk.sizeBytes) {
    throw refuse(
      `the image has ${imageSizeBytes} bytes and the disk only ${disk.sizeBytes} (${formatGigabytes(disk.sizeBytes)})`,
      'choose a larger disk with -d',
    );
  }
}

async function claim(path: string, disk: Disk, clock: Clock, signal: AbortSignal | undefined): Promise<FileHandle> {
  const refuse = (why: string, hint: string, cause: unknown) =>
    new DiskError({ what: 'install to', target: path, why, hint, cause });
  // A partition scan claims a disk for some milliseconds, for example after another program has
  // closed it.
  for (let attempt = 1; ; attempt++) {
    try {
      return await open(disk.path, constants.O_RDWR | constants.O_EXCL);
    } catch (error) {
      const code = codeOf(error);
      if (code === 'EBUSY' && attempt < 10) {
        await clock.wait(0.1, signal);
        continue;
      }
      if (code === 'EBUSY') {
        const why = 'it or one of its partitions is in use by something outside this container or mount namespace';
        throw refuse(why, 'unmount it on the host, stop the other program, or choose another disk with -d', error);
      }
      if (code === 'EACCES' || code === 'EPERM') throw refuse('permission denied', 'run as root', error);
      if (code === 'EROFS') throw refuse('it is read-only', 'choose another disk with -d', error);
      throw refuse(reasonOf(error), 'choose another disk with -d', error);
    }
  }
}
