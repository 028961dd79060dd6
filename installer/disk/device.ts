import { constants, type FileHandle, open, realpath, stat } from 'node:fs/promises';
import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import { reasonOf } from '../../errors/reason.ts';
import { runTool } from '../../tools/run-tool.ts';
import { DiskError } from './errors.ts';
import { type PartitionTable, parseTable } from './gpt.ts';
import { codeOf } from './in-use.ts';
import { forgetPartitions, type Reread, remapPartitions, rereadPartitions, unmapPartitions } from './reread.ts';
import type { SavedPartitions } from './saved-partitions.ts';
import { type Disk, describeUse, formatGigabytes, inspectDevice } from './select.ts';

export interface OpenOptions {
  /** The disk must be at least this large. Default: not checked. */
  readonly imageSizeBytes?: number | undefined;
  /** The disk must be larger than this. Default: not checked. */
  readonly minimumBytes?: number | undefined;
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Both ends that are cleared: enough for every partition table and for the signatures of LVM, RAID, ZFS, LUKS and file systems. */
export const endBytes = 1024 * 1024;

const pageBytes = 4096;
/** As much as is read back at once. */
const readBackBytes = 4 * 1024 * 1024;
/** What the image's partition table counts in. */
const imageSectorBytes = 512;
/** Shorter runs of zeroes are written sooner than the device is asked. */
const offloadBytes = 4 * 1024 * 1024;
/** Offloaded zeroing cannot be interrupted, so it is asked for in pieces. */
const offloadPieceBytes = 1024 * 1024 * 1024;

/**
 * Checks that a disk may be overwritten and claims it exclusively: from here on nobody can mount it, and nothing has been changed yet.
 * @param path of the device or a link to it (/dev/disk/by-id/…).
 * @throws DiskError when it is not a whole disk, is in use, read-only, too small, or made of sectors other than 512 bytes.
 */
export async function openDisk(path: string, options: OpenOptions = {}): Promise<TargetDisk> {
  const disk = await findDisk(path, options);
  refuseUnsuitable(path, disk, options);
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

/** The same checks as `openDisk`, without claiming the disk: what a dry run shows. @throws DiskError */
export async function checkDisk(path: string, options: OpenOptions = {}): Promise<Disk> {
  const disk = await findDisk(path, options);
  refuseUnsuitable(path, disk, options);
  return disk;
}

/**
 * A disk that is being installed to. It is claimed exclusively (`O_EXCL`) until it is released or disposed of.
 * Offsets and lengths are in bytes from the start of the disk.
 */
export class TargetDisk implements AsyncDisposable {
  /** The device itself, never a link to it. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly sectorSizeBytes: number;
  /** The table of the image being installed, from the moment it is known, though it is not on the disk yet. */
  table: PartitionTable | undefined;
  /** Partitions that stay whatever happens, and are then the only ones there are until the image is committed. */
  saved: SavedPartitions | undefined;
  readonly #clock: Clock;
  #claimed: FileHandle | undefined;
  /** Opened when first needed; undefined where the device does not take direct writes. */
  #direct: Promise<FileHandle | undefined> | undefined;
  #zeroOffload = true;
  #readBackMemory: Uint8Array | undefined;
  /** The kernel knows partitions that are no longer on the disk. */
  #kernelIsStale = false;
  readonly #mapped: boolean;
  /** Devices of partitions that are still on the disk were removed to claim it. */
  #lacksMaps: boolean;

  constructor(disk: Disk, claimed: FileHandle, clock: Clock) {
    this.#clock = clock;
    this.path = disk.path;
    this.sizeBytes = disk.sizeBytes;
    this.sectorSizeBytes = disk.sectorSizeBytes;
    this.#claimed = claimed;
    this.#mapped = isMapped(disk);
    this.#lacksMaps = this.#mapped && disk.partitions.length > 0;
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(lengthBytes);
    let filled = 0;
    while (filled < lengthBytes) {
      const { bytesRead } = await this.#handle.read(bytes, filled, lengthBytes - filled, offsetBytes + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return bytes.subarray(0, filled);
  }

  /**
   * As `read`, but what the disk itself has, not what the kernel remembers of it. To be called after `sync`.
   * @returns memory that is used again by the next call
   */
  async readBack(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    this.#readBackMemory ??= new Uint8Array(new WebAssembly.Memory({ initial: readBackBytes / 65536 }).buffer);
    const bytes = this.#readBackMemory.subarray(0, lengthBytes);
    const aligned = offsetBytes % pageBytes === 0 && lengthBytes % pageBytes === 0;
    const handle = aligned ? await this.#openDirectly(constants.O_RDONLY) : undefined;
    if (handle === undefined) {
      await runTool('blockdev', ['--flushbufs', this.path], { timeoutSeconds: 60 });
      bytes.set(await this.read(offsetBytes, lengthBytes));
      return bytes;
    }
    await using direct = handle;
    for (let filled = 0; filled < lengthBytes; ) {
      const { bytesRead } = await direct.read(bytes, filled, lengthBytes - filled, offsetBytes + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return bytes;
  }

  /**
   * Writes past the kernel's cache where offset, length and memory are aligned to pages and the device allows it, else through it.
   * The bytes are safe only after `sync`.
   */
  async write(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    const aligned = offsetBytes % pageBytes === 0 && bytes.length % pageBytes === 0;
    const direct = aligned ? await this.#openDirect() : undefined;
    if (direct !== undefined) {
      try {
        return await writeFully(direct, bytes, offsetBytes);
      } catch (error) {
        // The memory is not aligned, or the device wants more than pages. Node cannot tell beforehand.
        if (codeOf(error) !== 'EINVAL') throw this.#writeError(error, offsetBytes);
      }
    }
    try {
      await writeFully(this.#handle, bytes, offsetBytes);
    } catch (error) {
      throw this.#writeError(error, offsetBytes);
    }
  }

  /**
   * Makes a range read back as zeroes: by the device itself where it can do that in one go, else by writing them. Never discards, because
   * discarded ranges may read back as anything.
   * Source: fallocate(2) FALLOC_FL_PUNCH_HOLE on a block device is the kernel's "write zeroes, no fall-back" (block/fops.c).
   * @returns how many bytes of it the device did.
   */
  async zero(offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<number> {
    const end = offsetBytes + lengthBytes;
    const pagesStart = Math.ceil(offsetBytes / pageBytes) * pageBytes;
    const pagesEnd = Math.floor(end / pageBytes) * pageBytes;
    const offloadedEnd = await this.#offload(pagesStart, pagesEnd, signal);
    if (offloadedEnd === pagesStart) {
      await this.#writeZeroes(offsetBytes, end, signal);
    } else {
      await this.#writeZeroes(offsetBytes, pagesStart, signal);
      await this.#writeZeroes(offloadedEnd, end, signal);
    }
    return offloadedEnd - pagesStart;
  }

  /** Writes zeroes even where the device offers to do that itself. */
  disableZeroOffload(): void {
    this.#zeroOffload = false;
  }

  /**
   * Removes every partition table and every signature of what was on the disk before: both ends are overwritten with zeroes, or with a table of
   * nothing but the saved partitions, and that is on the disk when this returns.
   */
  async invalidate(): Promise<void> {
    this.#kernelIsStale = true;
    const zeroes = zeroMemory().subarray(0, Math.min(endBytes, this.sizeBytes));
    const { head, tail } = this.saved?.ends(endBytes) ?? { head: zeroes, tail: zeroes };
    await this.write(head, 0);
    await this.write(tail, this.sizeBytes - tail.length);
    await this.sync();
  }

  /** Returns when everything written so far is on the disk. */
  async sync(): Promise<void> {
    try {
      await this.#handle.sync();
    } catch (error) {
      throw new DiskError({ what: 'write to', target: this.path, why: reasonOf(error), cause: error });
    }
  }

  /** The table of the image being installed, or else the one on the disk. @throws DiskError when there is none. */
  async readTable(): Promise<PartitionTable> {
    const table = this.table ?? parseTable(await this.read(0, endBytes), this.path, this.sectorSizeBytes);
    if (table !== undefined) return table;
    throw new DiskError({ what: 'find', target: `the partitions of ${this.path}`, why: 'it has no GPT' });
  }

  /**
   * Gives up the claim and has the kernel see the new partitions.
   * @returns how that went. That it did not work is not an error: the disk is complete, and the next start reads it anyway.
   */
  async rereadPartitions(signal?: AbortSignal): Promise<Reread> {
    const table = await this.readTable();
    await this.#close();
    this.#kernelIsStale = false;
    this.#lacksMaps = false;
    if (this.#mapped) return await remapPartitions(this.path, signal);
    return await rereadPartitions(this.path, table, this.#clock, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
    if (this.#mapped) {
      if (this.#lacksMaps && !this.#kernelIsStale) await remapPartitions(this.path);
    } else if (this.#kernelIsStale) {
      await forgetPartitions(this.path);
    }
  }

  get #handle(): FileHandle {
    if (this.#claimed !== undefined) return this.#claimed;
    throw new DiskError({ what: 'use', target: this.path, why: 'it has been released' });
  }

  async #openDirect(): Promise<FileHandle | undefined> {
    this.#direct ??= this.#openDirectly(constants.O_WRONLY);
    return await this.#direct;
  }

  /** @returns undefined where the device cannot be read or written past the kernel's cache. */
  async #openDirectly(access: number): Promise<FileHandle | undefined> {
    try {
      return await open(this.path, access | constants.O_DIRECT);
    } catch (error) {
      if (codeOf(error) === 'EINVAL') return undefined;
      throw error;
    }
  }

  /** @returns the end of what the device has zeroed, `start` if it has not. */
  async #offload(start: number, end: number, signal: AbortSignal | undefined): Promise<number> {
    let done = start;
    while (this.#zeroOffload && end - start >= offloadBytes && done < end) {
      const length = Math.min(offloadPieceBytes, end - done);
      const range = ['--offset', String(done), '--length', String(length)];
      try {
        await runTool('fallocate', ['--punch-hole', ...range, this.path], { signal, timeoutSeconds: 600 });
        done += length;
      } catch {
        signal?.throwIfAborted();
        // Whatever the reason, the zeroes are written instead; a broken disk says so then.
        this.#zeroOffload = false;
      }
    }
    return done;
  }

  async #writeZeroes(start: number, end: number, signal: AbortSignal | undefined): Promise<void> {
    const zeroes = zeroMemory();
    for (let offset = start; offset < end; ) {
      signal?.throwIfAborted();
      // Up to a multiple of its size first, so that all others are aligned.
      const length = Math.min(zeroes.length - (offset % zeroes.length), end - offset);
      await this.write(zeroes.subarray(0, length), offset);
      offset += length;
    }
  }

  #writeError(error: unknown, offsetBytes: number): DiskError {
    const why = `${reasonOf(error)} (at byte ${offsetBytes} of ${this.sizeBytes})`;
    return new DiskError({ what: 'write to', target: this.path, why, cause: error });
  }

  async #close(): Promise<void> {
    const direct = await this.#direct?.catch(() => undefined);
    this.#direct = undefined;
    const claimed = this.#claimed;
    this.#claimed = undefined;
    await direct?.close();
    await claimed?.close();
  }
}

/** Whether it is made by the device-mapper, of other disks. */
function isMapped({ type }: Disk): boolean {
  return type === 'mpath' || type === 'lvm';
}

async function findDisk(path: string, { clock = systemClock, signal }: OpenOptions): Promise<Disk> {
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
  if (disk === undefined) throw refuse('it is a partition, not a full disk', 'name the disk that it is part of');
  return { ...disk, path: device };
}

function refuseUnsuitable(path: string, disk: Disk, { imageSizeBytes, minimumBytes }: OpenOptions): void {
  const refuse = (why: string, hint?: string) => new DiskError({ what: 'install to', target: path, why, hint });
  // The kinds that the original takes.
  if (!['disk', 'mpath', 'loop', 'lvm'].includes(disk.type))
    throw refuse(`it is of type ${disk.type}, not a full disk`);
  if (disk.sizeBytes === 0) throw refuse('it has no medium, or nothing is attached to it');
  if (disk.readOnly) throw refuse('it is read-only');
  const [use] = disk.uses;
  if (use !== undefined) {
    const hints = {
      mounted: 'unmount it',
      swap: `run swapoff ${use.device}`,
      held: 'deactivate that',
      claimed: 'stop that',
    };
    throw refuse(describeUse(use, disk), `${hints[use.kind]}, or choose another disk with -d`);
  }
  if (disk.sectorSizeBytes !== imageSectorBytes) {
    throw refuse(
      `it has sectors of ${disk.sectorSizeBytes} bytes, and the image is made for sectors of ${imageSectorBytes}`,
      'choose another disk, or reformat it to 512-byte sectors if it can do that (nvme format)',
    );
  }
  if (minimumBytes !== undefined && disk.sizeBytes <= minimumBytes) {
    throw refuse(
      `it has ${formatGigabytes(disk.sizeBytes)}, not more than the ${formatGigabytes(minimumBytes)} asked for`,
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
  // Scans for partitions claim a disk for some milliseconds, for example right after something else has closed it.
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
        const why = 'it or one of its partitions is in use by something outside of what this process can see';
        throw refuse(why, 'unmount it on the host, stop the other program, or choose another disk with -d', error);
      }
      if (code === 'EACCES' || code === 'EPERM') throw refuse('it may not be written to', 'run as root', error);
      if (code === 'EROFS') throw refuse('it is read-only', 'choose another disk with -d', error);
      throw refuse(reasonOf(error), 'choose another disk with -d', error);
    }
  }
}

async function writeFully(handle: FileHandle, bytes: Uint8Array, offsetBytes: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const result = await handle.write(bytes, written, bytes.length - written, offsetBytes + written);
    written += result.bytesWritten;
  }
}

let zeroes: Uint8Array | undefined;

/** One MiB of zeroes in memory that direct writes accept: WebAssembly's is the only one of Node's whose address is aligned to pages. */
function zeroMemory(): Uint8Array {
  zeroes ??= new Uint8Array(new WebAssembly.Memory({ initial: endBytes / 65536 }).buffer);
  return zeroes;
}
