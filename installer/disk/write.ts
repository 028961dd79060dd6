import { reasonOf } from '../../errors/reason.ts';
import type { Extent } from '../extent.ts';
import { DiskError } from './errors.ts';
import { encodeTable, fitsNewTable, hasTable, type PartitionTable, parseTable } from './gpt.ts';
import { ImageDigests, windowBytes } from './read-back.ts';
import { formatGigabytes } from './select.ts';
import { endBytes, type TargetDisk } from './target-disk.ts';
import { WriteQueue } from './write-queue.ts';

export interface WriteOptions {
  readonly signal?: AbortSignal | undefined;
  /**
   * Called after each piece that was written to the disk or its cache, some hundred times a second
   * at most.
   */
  readonly onProgress?: ((progress: WriteProgress) => void) | undefined;
  /**
   * Called with the partition table of the image when that has arrived, before anything is changed;
   * what it throws ends the installation.
   * @returns what else to look at while the image arrives
   */
  readonly onTable?: ((table: PartitionTable) => Promise<readonly Inspection[]>) | undefined;
  /** Keep digests of the image, to compare it with data read back from the disk. Default: false. */
  readonly readBack?: boolean | undefined;
  /**
   * `gpt`: nothing but a whole disk image with a GPT is written. `any`: whatever comes, as long as
   * it fits the disk. Default: `gpt`.
   */
  readonly content?: 'gpt' | 'any' | undefined;
  /** Size of the image in bytes, if it is known. It is compared with that of the disk at once. */
  readonly imageBytes?: number | undefined;
  /**
   * Move the backup of the GPT, if there is one and it has room, to the end of the disk. Default:
   * false.
   */
  readonly growTable?: boolean | undefined;
  /** Called with what is odd about an image, but no reason to refuse it. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** A range of an image to look at. */
export interface Inspection {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Called once, with the bytes of the range; what it throws ends the installation. */
  readonly inspect: (bytes: Uint8Array) => void;
}

export interface WriteProgress {
  /** Bytes of the image that are done. */
  readonly doneBytes: number;
  /** From the partition table of the image; 0 without one. */
  readonly imageSizeBytes: number;
  /** Bytes sent to the disk. */
  readonly writtenBytes: number;
  /** Bytes that the disk zeroed itself. */
  readonly zeroedBytes: number;
}

/** An image of which everything but what makes it bootable is on the disk. */
export interface WrittenImage {
  readonly sizeBytes: number;
  readonly writtenBytes: number;
  readonly zeroedBytes: number;
  /**
   * The partition table of the image with the saved partitions. It is not on the disk before
   * `commit`. `undefined` if the image has no GPT.
   */
  readonly table: PartitionTable | undefined;
  /**
   * Reads the disk back and compares it with what was written. Must be called before anything else
   * is written to the partitions. Present with the option `readBack`; then `commit` compares what
   * it writes, too.
   * @param onProgress gets the number of bytes compared
   * @throws {DiskError} with the offset of the first difference
   */
  readonly readBack: ((onProgress?: (doneBytes: number) => void) => Promise<void>) | undefined;
  /**
   * Writes what was withheld, the first sector last, and returns when all of the image is on the
   * disk. Must be called last: after the signature was verified and the configuration was written
   * (`disk.readTable()` has the partitions already).
   * @throws {IncompleteWriteError} the disk was left without a partition table
   */
  commit(): Promise<void>;
}

/**
 * Writes a disk image except for its first MiB, which has the partition table, and its part in the
 * last MiB of the disk, where a backup of the table may be. The disk is not changed before the
 * first MiB of the image has arrived and was found to be that of a disk image for this disk. From
 * then on the disk has no partition table until `commit`.
 * @throws {DiskError} the image does not fit the disk, which is unchanged; {IncompleteWriteError}
 *   the disk was left without a partition table (`cause`: what `extents` threw, the reason of the
 *   signal, or the error of the disk)
 */
export async function writeImage(
  extents: AsyncIterable<Extent>,
  disk: TargetDisk,
  options: WriteOptions = {},
): Promise<WrittenImage> {
  const writer = new ImageWriter(disk, options);
  try {
    if ((options.imageBytes ?? 0) > disk.sizeBytes) throw tooLarge(disk, options.imageBytes ?? 0);
    for await (const extent of extents) await writer.add(extent);
    return await writer.finish();
  } catch (error) {
    throw await writer.abandon(error);
  }
}

class ImageWriter {
  readonly #disk: TargetDisk;
  readonly #options: WriteOptions;
  readonly #queue = new WriteQueue();
  /** Withheld until `commit`: the image's part of the first and of the last MiB of the disk. */
  readonly #head = new Uint8Array(endBytes);
  readonly #tail = new Uint8Array(endBytes);
  readonly #tailStart: number;
  readonly #digests: ImageDigests | undefined;
  #table: PartitionTable | undefined;
  /** The head of the image was accepted, and the disk is changed. */
  #isBegun = false;
  /** The table is moved, as `growTable` wants it. */
  #mayGrow = false;
  /** Those that are not complete yet, with what has arrived of them. */
  #inspections: readonly { readonly inspection: Inspection; readonly bytes: Uint8Array }[] = [];
  #position = 0;
  #doneBytes = 0;
  #writtenBytes = 0;
  #zeroedBytes = 0;

  constructor(disk: TargetDisk, options: WriteOptions) {
    this.#disk = disk;
    this.#options = options;
    this.#tailStart = Math.max(endBytes, disk.sizeBytes - endBytes);
    this.#digests = options.readBack === true ? new ImageDigests() : undefined;
  }

  async add(extent: Extent): Promise<void> {
    let isQueued = false;
    try {
      this.#options.signal?.throwIfAborted();
      const start = this.#position;
      const end = start + (extent.kind === 'zero' ? extent.lengthBytes : extent.bytes.length);
      this.#withhold(extent, start, end);
      this.#digests?.add(extent);
      this.#position = end;
      if (end > this.#disk.sizeBytes) throw this.#tooLarge(end, 'at least ');
      if (!this.#isBegun && end >= endBytes) await this.#begin();
      if (this.#isBegun) this.#disk.saved?.requireUntouched(end);
      this.#inspect(extent, start, end);

      const from = Math.max(start, endBytes);
      const to = Math.min(end, this.#tailStart);
      if (from >= to) return;
      await this.#queue.room();
      isQueued = true;
      this.#queue.run(() => this.#store(extent, start, from, to));
    } finally {
      if (!isQueued && extent.kind === 'data') extent.release();
    }
  }

  async finish(): Promise<WrittenImage> {
    const sizeBytes = this.#position;
    const isAny = this.#options.content === 'any';
    if (!this.#isBegun && isAny && sizeBytes > 0) await this.#begin();
    if (!this.#isBegun)
      throw this.#refuse(isAny ? 'it is empty' : `it ends after ${sizeBytes} bytes, within its partition table`);
    const table = this.#table;
    if (table !== undefined) this.#requireWhole(table, sizeBytes);
    await this.#queue.drain();
    await this.#disk.sync();
    this.#options.signal?.throwIfAborted();
    const whole = this.#disk.setWritten(table);
    const [writtenBytes, zeroedBytes] = [this.#writtenBytes, this.#zeroedBytes];
    this.#digests?.end();
    const digests = this.#digests;
    const readBack =
      digests === undefined
        ? undefined
        : (onProgress?: (doneBytes: number) => void) => this.#readBack(digests, onProgress ?? (() => {}));
    return { sizeBytes, writtenBytes, zeroedBytes, table: whole, readBack, commit: () => this.#commit(whole) };
  }

  /**
   * Leaves the disk without a table if it was changed.
   * @returns the error to throw
   */
  async abandon(error: unknown): Promise<unknown> {
    await this.#queue.settle();
    return await this.#disk.abandon(error, this.#options.signal);
  }

  async #commit(table: PartitionTable | undefined): Promise<void> {
    const isWhole = this.#disk.saved !== undefined || this.#mayGrow;
    try {
      await this.#disk.commit(async () => {
        if (table !== undefined && isWhole) await this.#spread(table);
        const tailBytes = this.#position - this.#tailStart;
        if (tailBytes > 0) await this.#disk.write(this.#tail.subarray(0, tailBytes), this.#tailStart);
        await this.#disk.sync();
        const head = this.#head.subarray(0, this.#disk.sizeBytes);
        // A power cut can leave any part of a MiB, but no part of a sector. Without the first
        // sector no firmware starts the boot code, and no GPT counts, because it needs a protective
        // MBR (UEFI specification, section 5.2.3).
        const { sectorSizeBytes } = this.#disk;
        await this.#disk.write(head.subarray(sectorSizeBytes), sectorSizeBytes);
        await this.#disk.sync();
        await this.#disk.write(head.subarray(0, sectorSizeBytes), 0);
        await this.#disk.sync();
        if (this.#digests !== undefined) await this.#readBackEnds(Math.max(0, tailBytes));
      });
    } catch (error) {
      throw await this.abandon(error);
    }
  }

  async #readBack(digests: ImageDigests, onProgress: (doneBytes: number) => void): Promise<void> {
    for (let start = 0; start < this.#position; start += windowBytes) {
      this.#options.signal?.throwIfAborted();
      const bytes = await this.#disk.readBack(start, Math.min(windowBytes, this.#position - start));
      // The ends are not on the disk yet.
      copyOverlap(this.#head, 0, bytes, start);
      copyOverlap(this.#tail, this.#tailStart, bytes, start);
      if (!digests.matches(start / windowBytes, bytes)) throw this.#different(start);
      onProgress(start + bytes.length);
    }
  }

  async #readBackEnds(tailBytes: number): Promise<void> {
    const ends = [
      [0, this.#head.subarray(0, this.#disk.sizeBytes)],
      [this.#tailStart, this.#tail.subarray(0, tailBytes)],
    ] as const;
    for (const [start, expected] of ends) {
      const bytes = await this.#disk.readBack(start, expected.length);
      if (Buffer.compare(bytes, expected) !== 0) throw this.#different(start);
    }
  }

  #different(start: number): DiskError {
    const why = `data read back differs from what was written, within the ${formatGigabytes(windowBytes)} after byte ${start}`;
    const hint =
      'check the disk, its cable and its controller, look for errors in dmesg, or choose another disk with -d';
    return new DiskError({ what: 'read back', target: this.#disk.path, why, hint });
  }

  /** The table then covers all of the disk. The boot code of the image and its identity stay. */
  async #spread(table: PartitionTable): Promise<void> {
    const { primary, backup } = encodeTable(table, this.#disk.sizeBytes);
    const backupStart = this.#disk.sizeBytes - backup.length;
    await this.#disk.write(backup, backupStart);
    // An image that goes on behind its table may have other bytes there.
    copyOverlap(backup, backupStart, this.#tail, this.#tailStart);
    this.#head.set(primary.subarray(table.sectorSizeBytes), table.sectorSizeBytes);
  }

  /** Called when the first MiB is complete. From here on the disk is changed. */
  async #begin(): Promise<void> {
    const { content, growTable, onTable, onWarning, signal } = this.#options;
    const table =
      content === 'any'
        ? readAnyTable(this.#head, this.#disk, onWarning ?? (() => {}))
        : checkImageTable(this.#head, this.#disk);
    this.#table = table;
    if (table !== undefined) {
      this.#disk.saved?.requireRoomBeside(table);
      const inspections = (await onTable?.(table)) ?? [];
      this.#inspections = inspections.map((inspection) => {
        const bytes = new Uint8Array(inspection.lengthBytes);
        copyOverlap(this.#head, 0, bytes, inspection.offsetBytes);
        return { inspection, bytes };
      });
    }
    this.#mayGrow = growTable === true && table !== undefined && fitsNewTable(table, this.#disk.sizeBytes);
    if (growTable === true && table !== undefined && !this.#mayGrow)
      onWarning?.(
        'the partitions of the image leave no room for the usual table and its backup at the end of the disk',
      );
    signal?.throwIfAborted();
    this.#isBegun = true;
    await this.#disk.invalidate();
  }

  /** @throws {DiskError} the image ends before what its table describes does */
  #requireWhole(table: PartitionTable, sizeBytes: number): void {
    // Tools that shrink an image leave out the backup of the table, and the image boots without.
    const neededBytes = this.#options.content === 'any' ? endOfPartitions(table) : this.#imageSizeBytes;
    if (sizeBytes < neededBytes)
      throw this.#refuse(`it ends after ${sizeBytes} bytes, but its partition table describes ${neededBytes}`);
  }

  /** By the table of the image, whose backup is in its last sector. */
  get #imageSizeBytes(): number {
    return this.#table === undefined ? 0 : (this.#table.alternateLba + 1) * this.#table.sectorSizeBytes;
  }

  #withhold(extent: Extent, start: number, end: number): void {
    if (extent.kind === 'zero') return;
    copyOverlap(extent.bytes, start, this.#head, 0);
    if (end > this.#tailStart) copyOverlap(extent.bytes, start, this.#tail, this.#tailStart);
  }

  #inspect(extent: Extent, start: number, end: number): void {
    const isComplete = ({ offsetBytes, lengthBytes }: Inspection) => end >= offsetBytes + lengthBytes;
    for (const { inspection, bytes } of this.#inspections) {
      if (extent.kind === 'data') copyOverlap(extent.bytes, start, bytes, inspection.offsetBytes);
      if (isComplete(inspection)) inspection.inspect(bytes);
    }
    this.#inspections = this.#inspections.filter(({ inspection }) => !isComplete(inspection));
  }

  async #store(extent: Extent, start: number, from: number, to: number): Promise<void> {
    const lengthBytes = to - from;
    if (extent.kind === 'data') {
      try {
        await this.#disk.write(extent.bytes.subarray(from - start, to - start), from);
      } finally {
        extent.release();
      }
      this.#writtenBytes += lengthBytes;
    } else {
      const zeroed = await this.#disk.zero(from, lengthBytes, this.#options.signal);
      this.#zeroedBytes += zeroed;
      this.#writtenBytes += lengthBytes - zeroed;
    }
    this.#doneBytes += lengthBytes;
    this.#options.onProgress?.({
      doneBytes: this.#doneBytes,
      imageSizeBytes: this.#imageSizeBytes,
      writtenBytes: this.#writtenBytes,
      zeroedBytes: this.#zeroedBytes,
    });
  }

  #tooLarge(imageBytes: number, atLeast = ''): DiskError {
    return tooLarge(this.#disk, imageBytes, atLeast);
  }

  #refuse(why: string): DiskError {
    return refuseImage(why);
  }
}

/** A disk that an image is compared with. */
type ComparedDisk = Pick<TargetDisk, 'path' | 'sizeBytes' | 'sectorSizeBytes'>;

/**
 * Reads the partition table of an image without writing anything, with the checks of `writeImage`.
 * @throws {DiskError} it is no disk image for this disk; what `extents` throws
 */
export async function readImageTable(extents: AsyncIterable<Extent>, disk: ComparedDisk): Promise<PartitionTable> {
  const head = new Uint8Array(endBytes);
  let position = 0;
  for await (const extent of extents) {
    if (extent.kind === 'data') {
      copyOverlap(extent.bytes, position, head, 0);
      position += extent.bytes.length;
      extent.release();
    } else {
      position += extent.lengthBytes;
    }
    if (position >= endBytes) return checkImageTable(head, disk);
  }
  throw refuseImage(`it ends after ${position} bytes, within its partition table`);
}

/** @param head the first MiB of the image */
function checkImageTable(head: Uint8Array, disk: ComparedDisk): PartitionTable {
  const table = parseTable(head, 'the image', disk.sectorSizeBytes);
  if (table === undefined)
    throw refuseImage('it does not start with a partition table (GPT), so it is not a disk image');
  const beyond = table.partitions.find((partition) => partition.lastLba >= table.alternateLba);
  if (beyond !== undefined) throw refuseImage(`its partition ${beyond.number} ends beyond the end of the image`);
  if (table.partitions.length === 0) throw refuseImage('its partition table is empty');
  const imageBytes = (table.alternateLba + 1) * table.sectorSizeBytes;
  if (imageBytes > disk.sizeBytes) throw tooLarge(disk, imageBytes);
  return table;
}

/**
 * The GPT of an image that need not have one.
 * @param head its first MiB
 * @throws {DiskError} it is for sectors of another size, or its partitions do not fit the disk
 */
function readAnyTable(
  head: Uint8Array,
  disk: ComparedDisk,
  onWarning: (message: string) => void,
): PartitionTable | undefined {
  const { sectorSizeBytes } = disk;
  if (!hasTable(head, sectorSizeBytes)) {
    const other = [512, 4096].find((size) => hasTable(head, size));
    if (other === undefined) return undefined;
    throw refuseImage(
      `its partition table is for sectors of ${other} bytes, and those of the disk have ${sectorSizeBytes}`,
    );
  }
  let table: PartitionTable | undefined;
  try {
    table = parseTable(head, 'the image', sectorSizeBytes);
  } catch (error) {
    onWarning(reasonOf(error));
  }
  if (table === undefined) return undefined;
  if (endOfPartitions(table) > disk.sizeBytes) throw tooLarge(disk, endOfPartitions(table), 'at least ');
  return table;
}

/** Bytes up to the end of the last partition. */
function endOfPartitions({ partitions, sectorSizeBytes }: PartitionTable): number {
  return partitions.reduce((end, { lastLba }) => Math.max(end, (lastLba + 1) * sectorSizeBytes), 0);
}

function tooLarge({ path, sizeBytes }: ComparedDisk, imageBytes: number, atLeast = ''): DiskError {
  const sizes = `the image has ${atLeast}${imageBytes} bytes and the disk only ${sizeBytes}`;
  const why = `${sizes} (${formatGigabytes(sizeBytes)})`;
  return new DiskError({ what: 'install to', target: path, why, hint: 'choose a larger disk with -d' });
}

function refuseImage(why: string): DiskError {
  return new DiskError({ what: 'install', target: 'the image', why, hint: 'check what -f, -b or -V name' });
}

/**
 * Copies the overlap of two ranges of the same image: `source` starts at `sourceStart`, `target` at
 * `targetStart`.
 */
function copyOverlap(source: Uint8Array, sourceStart: number, target: Uint8Array, targetStart: number): void {
  const from = Math.max(sourceStart, targetStart);
  const to = Math.min(sourceStart + source.length, targetStart + target.length);
  if (from < to) target.set(source.subarray(from - sourceStart, to - sourceStart), from - targetStart);
}
