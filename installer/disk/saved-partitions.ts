import { DiskError } from './errors.ts';
import { backupBytes, encodeTable, maxPartitions, type Partition, type PartitionTable } from './gpt.ts';

/** What is at both ends of a disk; all else between them is left alone. */
export interface DiskEnds {
  readonly head: Uint8Array;
  /** Ends with the disk. */
  readonly tail: Uint8Array;
}

/** The disk as far as this concerns it. */
interface Place {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sectorSizeBytes: number;
}

/** Partitions of a disk that outlive an installation to it, with their numbers, names and contents. */
export class SavedPartitions {
  readonly partitions: readonly Partition[];
  /** The patterns that no partition has a label for. */
  readonly unmatched: readonly string[];
  readonly #disk: Place;
  readonly #diskGuid: string;

  /**
   * @param table of the disk as it is
   * @param patterns of labels: `*` stands for any characters, `?` for one
   * @throws DiskError when one of the partitions ends where the backup of a table must be
   */
  constructor(table: PartitionTable, patterns: readonly string[], disk: Place) {
    this.partitions = table.partitions.filter(({ label }) => patterns.some((pattern) => matches(label, pattern)));
    this.unmatched = patterns.filter((pattern) => !table.partitions.some(({ label }) => matches(label, pattern)));
    this.#disk = disk;
    this.#diskGuid = table.diskGuid;
    const end = disk.sizeBytes - backupBytes(disk.sectorSizeBytes);
    const beyond = this.partitions.find(({ offsetBytes, sizeBytes }) => offsetBytes + sizeBytes > end);
    const unusual = this.partitions.find(({ number }) => number > maxPartitions);
    if (unusual !== undefined) throw this.#refuse(unusual, `its number is beyond ${maxPartitions}`);
    if (beyond !== undefined)
      throw this.#refuse(beyond, 'it reaches into the end of the disk, where a partition table has its backup');
  }

  /** @throws DiskError when the image would overwrite one of them, or its system could take one for its own. */
  requireRoomBeside(image: PartitionTable): void {
    const imageBytes = (image.alternateLba + 1) * image.sectorSizeBytes;
    for (const partition of this.partitions) {
      if (partition.offsetBytes < imageBytes) {
        throw this.#refuse(
          partition,
          `it starts at byte ${partition.offsetBytes}, and the image takes the first ${imageBytes}`,
        );
      }
      if (
        image.partitions.some(
          ({ label, uniqueGuid }) => label === partition.label || uniqueGuid === partition.uniqueGuid,
        )
      ) {
        throw this.#refuse(
          partition,
          'the image has a partition of this name too, and its system would not know which is its own',
        );
      }
    }
  }

  /** The image's partitions with these beside them: under their own numbers where the image leaves those free, else under the next ones. */
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

  /** Both ends of a disk that has these partitions and no others, not even the signatures of others, `lengthBytes` long at most. */
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

/** Unlike with names of files, a dot at the beginning and a slash are characters like others: what `*` does not match is lost. */
function matches(label: string, pattern: string): boolean {
  const parts = pattern
    .split(/([*?])/)
    .map((part) => (part === '*' ? '.*' : part === '?' ? '.' : part.replace(/[\\^$.+()[\]{}|]/g, '\\$&')));
  return new RegExp(`^${parts.join('')}$`, 'su').test(label);
}
