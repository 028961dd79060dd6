import { DiskError } from './errors.ts';
import { backupBytes, encodeTable, fitsNewTable, maxPartitions, type Partition, type PartitionTable } from './gpt.ts';
import { matchesPattern } from './pattern.ts';
import { endBytes } from './target-disk.ts';

/** New content of both ends of a disk. */
export interface DiskEnds {
  readonly head: Uint8Array;
  /** Ends with the disk. */
  readonly tail: Uint8Array;
}

/** Path and size of a disk. */
interface DiskGeometry {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sectorSizeBytes: number;
}

/** Which partitions to keep: those that a pattern or a range describes. */
export interface SavedSelection {
  /** Patterns of labels: `*` stands for any characters, `?` for one. */
  readonly labels: readonly string[];
  readonly numbers: readonly NumberRange[];
}

/** Inclusive. */
export interface NumberRange {
  readonly first: number;
  readonly last: number;
}

/** A saved partition whose number the image has too. */
export interface Renumbering {
  readonly partition: Partition;
  readonly newNumber: number;
}

/** Partitions that an installation keeps, with their numbers, names and contents. */
export class SavedPartitions {
  readonly partitions: readonly Partition[];
  /** The patterns that match no label, and the ranges without a partition. */
  readonly unmatched: readonly (string | NumberRange)[];
  readonly #disk: DiskGeometry;
  readonly #diskGuid: string;

  /**
   * @param table of the disk as it is
   * @throws {DiskError} a partition overlaps the backup of the table
   */
  constructor(table: PartitionTable, { labels, numbers }: SavedSelection, disk: DiskGeometry) {
    const all = table.partitions;
    const hasLabel = (pattern: string) => (one: Partition) => matchesPattern(one.label, pattern);
    const isWithin = (range: NumberRange) => (one: Partition) => one.number >= range.first && one.number <= range.last;
    const filters = [...labels.map(hasLabel), ...numbers.map(isWithin)];
    this.partitions = all.filter((partition) => filters.some((isMeant) => isMeant(partition)));
    this.unmatched = [...labels, ...numbers].filter((_wanted, index) => !all.some(filters[index] ?? (() => true)));
    this.#disk = disk;
    this.#diskGuid = table.diskGuid;
    const end = disk.sizeBytes - backupBytes(disk.sectorSizeBytes);
    const beyond = this.partitions.find(({ offsetBytes, sizeBytes }) => offsetBytes + sizeBytes > end);
    const unusual = this.partitions.find(({ number }) => number > maxPartitions);
    if (unusual !== undefined) throw this.#refuse(unusual, `its number is greater than ${maxPartitions}`);
    if (beyond !== undefined)
      throw this.#refuse(beyond, 'it overlaps the backup of the partition table at the end of the disk');
  }

  /**
   * @throws {DiskError} the image would overwrite one of them, or has a partition of the same name,
   *   or one where the new table will be
   */
  requireRoomBeside(image: PartitionTable): void {
    if (!fitsNewTable(image, this.#disk.sizeBytes)) {
      const hint = 'leave out --save-partlabel and --save-partindex';
      const why = 'its partitions leave no room for the table of 128 entries that saved partitions need';
      throw new DiskError({ what: 'install', target: 'the image', why, hint });
    }
    // The first MiB is cleared and written as a whole, also where the table says that the image
    // ends before it.
    const imageBytes = Math.max(endBytes, (image.alternateLba + 1) * image.sectorSizeBytes);
    for (const partition of this.partitions) {
      if (partition.offsetBytes < imageBytes) {
        throw this.#refuse(
          partition,
          `it starts at byte ${partition.offsetBytes}, but the image occupies the first ${imageBytes} bytes`,
        );
      }
      if (
        image.partitions.some(
          ({ label, uniqueGuid }) => label === partition.label || uniqueGuid === partition.uniqueGuid,
        )
      ) {
        throw this.#refuse(
          partition,
          'the image has a partition with the same name or GUID, and the installed system may use the wrong one',
        );
      }
    }
    const beyond = this.renumberingsFor(image).find(({ newNumber }) => newNumber > maxPartitions);
    if (beyond !== undefined)
      throw this.#refuse(beyond.partition, `the image has its number, and there is none left up to ${maxPartitions}`);
  }

  /**
   * Called before anything of the image is written up to this byte: it may go on where its table
   * ends.
   * @throws {DiskError} it would overwrite one of them
   */
  requireUntouched(endBytes: number): void {
    const touched = this.partitions.find(({ offsetBytes }) => offsetBytes < endBytes);
    if (touched === undefined) return;
    throw this.#refuse(
      touched,
      `it starts at byte ${touched.offsetBytes}, but the image goes on beyond the end that its partition table names`,
    );
  }

  /**
   * Those whose number the image uses. They move beyond the highest number of all, so that the
   * others keep theirs.
   */
  renumberingsFor(image: PartitionTable): Renumbering[] {
    const taken = new Set(image.partitions.map(({ number }) => number));
    const highest = Math.max(...taken, ...this.partitions.map(({ number }) => number));
    const moved = this.partitions.filter(({ number }) => taken.has(number));
    return moved.map((partition, index) => ({ partition, newNumber: highest + 1 + index }));
  }

  /** The partitions of the image and these. */
  addTo(image: PartitionTable): PartitionTable {
    const numbers = new Map(
      this.renumberingsFor(image).map(({ partition, newNumber }) => [partition.number, newNumber]),
    );
    const added = this.partitions.map((one) => ({ ...one, number: numbers.get(one.number) ?? one.number }));
    const { sizeBytes, sectorSizeBytes } = this.#disk;
    return { ...image, alternateLba: sizeBytes / sectorSizeBytes - 1, partitions: [...image.partitions, ...added] };
  }

  /**
   * Both ends of a disk with only these partitions, at most `lengthBytes` each. Signatures of other
   * contents are cleared.
   */
  ends(lengthBytes: number): DiskEnds {
    const { sizeBytes, sectorSizeBytes } = this.#disk;
    const table = { diskGuid: this.#diskGuid, partitions: this.partitions, sectorSizeBytes };
    const { primary, backup } = encodeTable(table, sizeBytes);
    const head = new Uint8Array(lengthBytes);
    head.set(primary);
    const lastByte = Math.max(...this.partitions.map((partition) => partition.offsetBytes + partition.sizeBytes));
    const tail = new Uint8Array(sizeBytes - Math.max(lastByte, sizeBytes - lengthBytes));
    tail.set(backup, tail.length - backup.length);
    return { head, tail };
  }

  #refuse(partition: Partition, why: string): DiskError {
    const target = `partition ${partition.number} (${partition.label}) of ${this.#disk.path}`;
    return new DiskError({
      what: 'save',
      target,
      why,
      hint: 'move it, rename it, or leave it out of --save-partlabel and --save-partindex',
    });
  }
}
