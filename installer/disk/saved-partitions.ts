import { DiskError } from './errors.ts';
import { backupBytes, encodeTable, maxPartitions, type Partition, type PartitionTable } from './gpt.ts';
import { matchesPattern } from './pattern.ts';

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

/** Partitions that an installation keeps, with their numbers, names and contents. */
export class SavedPartitions {
  readonly partitions: readonly Partition[];
  /** The patterns that match no label. */
  readonly unmatched: readonly string[];
  readonly #disk: DiskGeometry;
  readonly #diskGuid: string;

  /**
   * @param table of the disk as it is
   * @param patterns of labels: `*` stands for any characters, `?` for one
   * @throws {DiskError} a partition overlaps the backup of the table
   */
  constructor(table: PartitionTable, patterns: readonly string[], disk: DiskGeometry) {
    this.partitions = table.partitions.filter(({ label }) =>
      patterns.some((pattern) => matchesPattern(label, pattern)),
    );
    this.unmatched = patterns.filter(
      (pattern) => !table.partitions.some(({ label }) => matchesPattern(label, pattern)),
    );
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
   * @throws {DiskError} the image would overwrite one of them, or has a partition of the same name
   */
  requireRoomBeside(image: PartitionTable): void {
    const imageBytes = (image.alternateLba + 1) * image.sectorSizeBytes;
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
  }

  /**
   * The partitions of the image and these, with their own numbers if the image does not use them,
   * else with the next free ones.
   */
  addTo(image: PartitionTable): PartitionTable {
    const taken = new Set(image.partitions.map(({ number }) => number));
    const added = this.partitions.map((partition) => {
      let { number } = partition;
      while (taken.has(number)) number++;
      taken.add(number);
      return { ...partition, number };
    });
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
      hint: 'move it, rename it, or leave it out of --save-partlabel',
    });
  }
}
