import { constants, type FileHandle, open, rm } from 'node:fs/promises';
import type { Clock } from '../../clock/clock.ts';
import { reasonOf } from '../../errors/reason.ts';
import { runTool } from '../../tools/run-tool.ts';
import { eraseRanges } from './erase.ts';
import { DiskError, IncompleteWriteError } from './errors.ts';
import { type PartitionTable, parseTable } from './gpt.ts';
import { codeOf } from './in-use.ts';
import type { Member } from './members.ts';
import { windowBytes } from './read-back.ts';
import { forgetPartitions, type Rescan, remapPartitions, rescanPartitions } from './rescan.ts';
import type { SavedPartitions } from './saved-partitions.ts';
import type { Disk } from './select.ts';
import { writeFully } from './write-fully.ts';

/**
 * Size of each end that is cleared: enough for every partition table and for the signatures of LVM,
 * RAID, ZFS, LUKS and file systems.
 */
export const endBytes = 1024 * 1024;

const pageBytes = 4096;
/** Shorter runs of zeroes are faster to write than to offload. */
const offloadBytes = 4 * 1024 * 1024;
/** Offloaded zeroing cannot be interrupted, so it is done in pieces. */
const offloadPieceBytes = 1024 * 1024 * 1024;

/**
 * State of the disk during an installation. `table`: that of the image, with the saved partitions;
 * `undefined` if the image has no GPT.
 */
type DiskState =
  /** Nothing was changed. */
  | { readonly kind: 'claimed' }
  /** It has no partition table, or only that of the saved partitions; or it is being cleared. */
  | { readonly kind: 'invalidated' }
  /** As before, and all of the image but its table is written. */
  | { readonly kind: 'written'; readonly table: PartitionTable | undefined }
  /** The table is being written, and may be on the disk already. */
  | { readonly kind: 'committing'; readonly table: PartitionTable | undefined }
  | { readonly kind: 'committed'; readonly table: PartitionTable | undefined }
  /**
   * No longer claimed: it cannot be read or written any more. The table is that of an installed
   * image.
   */
  | { readonly kind: 'released'; readonly table: PartitionTable | undefined };

function isState<Kind extends DiskState['kind']>(
  state: DiskState,
  kind: Kind,
): state is Extract<DiskState, { kind: Kind }> {
  return state.kind === kind;
}

/**
 * A disk that is being installed to. It is claimed exclusively (`O_EXCL`) until it is released or
 * disposed of. Offsets and lengths are in bytes from the start of the disk.
 */
export class TargetDisk implements AsyncDisposable {
  /** The device itself, never a link to it. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly sectorSizeBytes: number;
  /** What it and its partitions belonged to when it was claimed. */
  readonly members: readonly Member[];
  /** Why its contents could not be read then. */
  readonly unreadable: string | undefined;
  #state: DiskState = { kind: 'claimed' };
  #saved: SavedPartitions | undefined;
  #erased: readonly Member[] = [];
  readonly #clock: Clock;
  #claimed: FileHandle | undefined;
  /** Opened when first needed; undefined if the device does not support direct writes. */
  #direct: Promise<FileHandle | undefined> | undefined;
  #zeroOffload = true;
  #readBackMemory: Uint8Array | undefined;
  readonly #mapped: boolean;
  /** Its partition devices were removed to claim it. */
  readonly #hadMaps: boolean;
  /** A regular file in place of a device. */
  readonly isFile: boolean;
  readonly #isNewFile: boolean;
  /** Of a file: nothing is written that reads as zeroes already. */
  #isHole = false;

  /** @param isNewFile it was made for this installation */
  constructor(disk: Disk, claimed: FileHandle, clock: Clock, isNewFile = false) {
    this.isFile = disk.type === 'file';
    this.#isNewFile = isNewFile;
    this.#clock = clock;
    this.path = disk.path;
    this.sizeBytes = disk.sizeBytes;
    this.sectorSizeBytes = disk.sectorSizeBytes;
    this.members = disk.members;
    this.unreadable = disk.unreadable;
    this.#claimed = claimed;
    this.#mapped = isMapped(disk);
    this.#hadMaps = this.#mapped && disk.partitions.length > 0;
  }

  /** Partitions to keep. Until the image is committed the disk has no others. */
  get saved(): SavedPartitions | undefined {
    return this.#saved;
  }

  /** Keeps these partitions. Must be called before anything is changed. */
  save(partitions: SavedPartitions | undefined): void {
    this.#require('claimed');
    this.#saved = partitions;
  }

  /**
   * Erases these signatures with the partition table, also where the image does not reach. Must be
   * called before anything is changed.
   */
  erase(members: readonly Member[]): void {
    this.#require('claimed');
    this.#erased = members;
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
   * As `read`, but past the kernel's cache. Must be called after `sync`.
   * @param lengthBytes at most {@link windowBytes}
   * @returns memory that the next call reuses
   * @throws {DiskError} the disk has become smaller; errors of the system
   */
  async readBack(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    if (lengthBytes > windowBytes) throw new RangeError(`cannot read back more than ${windowBytes} bytes at once`);
    this.#readBackMemory ??= new Uint8Array(new WebAssembly.Memory({ initial: windowBytes / 65536 }).buffer);
    const bytes = this.#readBackMemory.subarray(0, lengthBytes);
    const aligned = offsetBytes % pageBytes === 0 && lengthBytes % pageBytes === 0;
    const handle = aligned ? await this.#openDirectly(constants.O_RDONLY) : undefined;
    if (handle === undefined) {
      if (!this.isFile) await runTool('blockdev', ['--flushbufs', this.path], { timeoutSeconds: 60 });
      const found = await this.read(offsetBytes, lengthBytes);
      if (found.length < lengthBytes) throw this.#endError(offsetBytes + found.length);
      bytes.set(found);
      return bytes;
    }
    await using direct = handle;
    for (let filled = 0; filled < lengthBytes; ) {
      const { bytesRead } = await direct.read(bytes, filled, lengthBytes - filled, offsetBytes + filled);
      // The memory still has what was read before.
      if (bytesRead === 0) throw this.#endError(offsetBytes + filled);
      filled += bytesRead;
    }
    return bytes;
  }

  /**
   * Writes past the kernel's cache if offset, length and memory are aligned to pages and the device
   * supports it, else through it. The bytes are on the disk only after `sync`.
   */
  async write(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    const aligned = offsetBytes % pageBytes === 0 && bytes.length % pageBytes === 0;
    const direct = aligned ? await this.#openDirect() : undefined;
    if (direct !== undefined) {
      try {
        return await writeFully(direct, bytes, offsetBytes);
      } catch (error) {
        // The memory is not aligned, or the device needs a larger alignment. Node cannot know it
        // beforehand.
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
   * Makes a range read back as zeroes: offloaded to the device if it supports that, else by writing
   * zeroes. Never discards, because discarded ranges may read back as anything. Source:
   * fallocate(2) FALLOC_FL_PUNCH_HOLE on a block device is the kernel's "write zeroes, no
   * fall-back" (block/fops.c).
   * @returns how many bytes the device zeroed itself
   */
  async zero(offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<number> {
    if (this.#isHole) return lengthBytes;
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

  /** Writes zeroes even if the device could zero ranges itself. */
  disableZeroOffload(): void {
    this.#zeroOffload = false;
  }

  /**
   * Removes every partition table and signature of earlier contents: both ends are overwritten with
   * zeroes, or with a table of only the saved partitions; then the members of `erase` too. Returns
   * when all of it is on the disk. It cannot be interrupted in between: without the table the
   * places of the members are not found again.
   */
  async invalidate(): Promise<void> {
    this.#state = { kind: 'invalidated' };
    if (this.isFile && this.#saved === undefined) return await this.#empty();
    await this.#clearEnds();
    await this.#eraseMembers();
  }

  /** Makes a file one hole: what is not of the image takes no space, and reads as zeroes. */
  async #empty(): Promise<void> {
    try {
      await this.#handle.truncate(0);
      await this.#handle.truncate(this.sizeBytes);
    } catch (cause) {
      throw new DiskError({ what: 'write to', target: this.path, why: reasonOf(cause), cause });
    }
    this.#isHole = true;
    await this.sync();
  }

  async #clearEnds(): Promise<void> {
    const zeroes = zeroMemory().subarray(0, Math.min(endBytes, this.sizeBytes));
    const { head, tail } = this.#saved?.ends(endBytes) ?? { head: zeroes, tail: zeroes };
    const writeHead = () => this.write(head, 0);
    const writeTail = () => this.write(tail, this.sizeBytes - tail.length);
    // At each moment one of the two tables has the saved partitions: the primary one until the
    // backup is on the disk, and while the primary one of the image is written, the backup.
    const isHeadFirst = this.#saved === undefined || this.#state.kind === 'committing';
    const [first, second] = isHeadFirst ? [writeHead, writeTail] : [writeTail, writeHead];
    await first();
    if (this.#saved !== undefined) await this.sync();
    await second();
    await this.sync();
  }

  async #eraseMembers(): Promise<void> {
    if (this.#erased.length === 0) return;
    const saved = this.#saved?.partitions ?? [];
    // The ends are cleared already, and may have the table of the saved partitions.
    const kept = [
      { start: 0, end: endBytes },
      { start: this.sizeBytes - endBytes, end: this.sizeBytes },
      ...saved.map(({ offsetBytes, sizeBytes }) => ({ start: offsetBytes, end: offsetBytes + sizeBytes })),
    ];
    for (const { start, end } of eraseRanges(this.#erased, kept)) await this.zero(start, end - start);
    await this.sync();
  }

  /**
   * Called when all of an image but what makes it bootable is on the disk.
   * @param image its partition table; `undefined` if it has no GPT
   * @returns that table with the saved partitions; `readTable` returns it from now on
   */
  setWritten(image: PartitionTable | undefined): PartitionTable | undefined {
    this.#require('invalidated');
    const table = image === undefined ? undefined : (this.#saved?.addTo(image) ?? image);
    this.#state = { kind: 'written', table };
    return table;
  }

  /**
   * Writes the partition table.
   * @param write writes it, and returns when it is on the disk
   */
  async commit(write: () => Promise<void>): Promise<void> {
    const { table } = this.#require('written');
    this.#state = { kind: 'committing', table };
    await write();
    this.#state = { kind: 'committed', table };
  }

  /**
   * Leaves the disk without a partition table after a failure.
   * @param cause the failure
   * @param signal tells a failure from an interrupt
   * @returns the error to throw: `cause` itself if the disk was not changed, else an
   *   IncompleteWriteError with the state of the disk
   */
  async abandon(cause: unknown, signal: AbortSignal | undefined): Promise<unknown> {
    const { kind } = this.#state;
    if (kind === 'claimed' || cause instanceof IncompleteWriteError) return cause;
    const tableRemoved = kind === 'written' || (await this.#removeTable());
    const why = signal?.aborted ? 'it was interrupted' : reasonOf(cause);
    const problem = { what: 'install to', target: this.path, why, cause };
    return new IncompleteWriteError(problem, tableRemoved, this.#saved !== undefined);
  }

  /** Returns when everything written so far is on the disk. */
  async sync(): Promise<void> {
    try {
      await this.#handle.sync();
    } catch (error) {
      throw new DiskError({ what: 'write to', target: this.path, why: reasonOf(error), cause: error });
    }
  }

  /**
   * The table of the image being installed, or else the one on the disk.
   * @throws {DiskError} there is none
   */
  async readTable(): Promise<PartitionTable> {
    const table = this.#knownTable ?? parseTable(await this.read(0, endBytes), this.path, this.sectorSizeBytes);
    if (table !== undefined) return table;
    throw new DiskError({ what: 'find', target: `the partitions of ${this.path}`, why: 'it has no GPT' });
  }

  /**
   * Releases the disk and rescans its partition table.
   * @returns the result. A failure is not an error: the disk is complete, and the next boot reads
   *   the table anyway.
   */
  async rescanPartitions(signal?: AbortSignal): Promise<Rescan> {
    // None: the kernel makes of it what it can, also of a GPT that is damaged in the image.
    const table = await this.readTable().catch(() => undefined);
    await this.#close();
    if (this.#mapped) return await remapPartitions(this.path, signal);
    return await rescanPartitions(this.path, table, this.#clock, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { kind } = this.#state;
    await this.#close();
    if (this.isFile) {
      if (kind === 'claimed' && this.#isNewFile) await rm(this.path, { force: true });
      return;
    }
    if (kind === 'claimed') {
      if (this.#hadMaps) await remapPartitions(this.path);
    } else if (kind !== 'released' && !this.#mapped) {
      // The partitions that the kernel has are no longer on the disk.
      await forgetPartitions(this.path);
    }
  }

  #require<Kind extends DiskState['kind']>(kind: Kind): Extract<DiskState, { kind: Kind }> {
    const state = this.#state;
    if (isState(state, kind)) return state;
    throw new DiskError({ what: 'use', target: this.path, why: `its state is ${state.kind}, not ${kind}` });
  }

  /** @returns whether the table was removed */
  async #removeTable(): Promise<boolean> {
    // Collects the errors of earlier writes, so that they are not taken for errors of removing the
    // table.
    await this.sync().catch(() => undefined);
    return await this.#clearEnds().then(
      () => true,
      () => false,
    );
  }

  get #knownTable(): PartitionTable | undefined {
    return 'table' in this.#state ? this.#state.table : undefined;
  }

  get #handle(): FileHandle {
    if (this.#claimed !== undefined) return this.#claimed;
    throw new DiskError({ what: 'use', target: this.path, why: 'it has been released' });
  }

  async #openDirect(): Promise<FileHandle | undefined> {
    this.#direct ??= this.#openDirectly(constants.O_WRONLY);
    return await this.#direct;
  }

  /** @returns undefined if the device cannot be read or written past the kernel's cache */
  async #openDirectly(access: number): Promise<FileHandle | undefined> {
    try {
      return await open(this.path, access | constants.O_DIRECT);
    } catch (error) {
      if (codeOf(error) === 'EINVAL') return undefined;
      throw error;
    }
  }

  /** @returns the end of what the device has zeroed; `start` if nothing */
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
        // For every reason the zeroes are written instead; a broken disk fails then.
        this.#zeroOffload = false;
      }
    }
    return done;
  }

  async #writeZeroes(start: number, end: number, signal: AbortSignal | undefined): Promise<void> {
    const zeroes = zeroMemory();
    for (let offset = start; offset < end; ) {
      signal?.throwIfAborted();
      // The first write ends at a multiple of its size, so that all others are aligned.
      const length = Math.min(zeroes.length - (offset % zeroes.length), end - offset);
      await this.write(zeroes.subarray(0, length), offset);
      offset += length;
    }
  }

  #endError(endBytes: number): DiskError {
    const why = `it now ends at byte ${endBytes} of ${this.sizeBytes}`;
    return new DiskError({ what: 'read back', target: this.path, why, hint: 'look for errors in dmesg' });
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
    this.#state = { kind: 'released', table: this.#knownTable };
    await direct?.close();
    await claimed?.close();
  }
}

/** Whether it is a device-mapper device on other disks. */
export function isMapped({ type }: Disk): boolean {
  return type === 'mpath' || type === 'lvm';
}

let zeroes: Uint8Array | undefined;

/**
 * One MiB of zeroes for direct writes. In Node only the memory of WebAssembly is aligned to pages.
 */
function zeroMemory(): Uint8Array {
  zeroes ??= new Uint8Array(new WebAssembly.Memory({ initial: endBytes / 65536 }).buffer);
  return zeroes;
}
