import { crc32 } from 'node:zlib';
import { DiskError } from './errors.ts';

/** A used entry of the table. */
export interface Partition {
  /** From 1, as in /dev/sda1. */
  readonly number: number;
  /** Lower-case, as udev and blkid print it. */
  readonly typeGuid: string;
  readonly uniqueGuid: string;
  readonly label: string;
  readonly firstLba: number;
  /** Inclusive. */
  readonly lastLba: number;
  readonly attributes: bigint;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

export interface PartitionTable {
  readonly sectorSizeBytes: number;
  readonly diskGuid: string;
  /** Sector of the backup header. In a disk image, the last sector. */
  readonly alternateLba: number;
  readonly partitions: readonly Partition[];
}

const signature = 'EFI PART';
const headerBytes = 92;
const nilGuid = '00000000-0000-0000-0000-000000000000';

/** One end of a disk or image, or all of it. */
interface Bytes {
  readonly view: Buffer;
  /** Where they begin on the disk. */
  readonly startBytes: number;
  readonly sectorSizeBytes: number;
  /** Makes an error of why a table cannot be read. */
  readonly fail: (why: string) => DiskError;
}

/**
 * Parses the primary GPT (UEFI specification 2.10, section 5.3) in the first bytes of a disk or
 * image. The usual table has 34 sectors.
 * @param name of the disk or image, for messages
 * @returns undefined if there is no table
 * @throws {DiskError} the table is damaged or made for sectors of another size
 */
export function parseTable(head: Uint8Array, name: string, sectorSizeBytes = 512): PartitionTable | undefined {
  const bytes = bytesOf(head, 0, name, sectorSizeBytes);
  const header = primaryHeader(bytes);
  return header && tableOf(header, bytes);
}

/** A table as it was found. */
export interface FoundTable {
  /** Undefined if there is none. */
  readonly table: PartitionTable | undefined;
  /** Why the primary table cannot be used. Then the table is its backup. */
  readonly damage: DiskError | undefined;
}

/**
 * Parses the GPT of a disk. Where the entries of the primary table are damaged, which a power cut
 * can leave so, but its header is sound, its backup counts: that in the last sector of the disk, if
 * the header names it. A backup that the header does not name may be that of an earlier table.
 * @param head the first bytes of the disk
 * @param tail the last bytes, as far as the backup reaches
 * @throws {DiskError} the table is damaged, and so is the backup; see {@link parseTable}
 */
export function parseEitherTable(
  head: Uint8Array,
  tail: Uint8Array,
  {
    path,
    sizeBytes,
    sectorSizeBytes,
  }: { readonly path: string; readonly sizeBytes: number; readonly sectorSizeBytes: number },
): FoundTable {
  const bytes = bytesOf(head, 0, path, sectorSizeBytes);
  const header = primaryHeader(bytes);
  if (header === undefined) return { table: undefined, damage: undefined };
  try {
    return { table: tableOf(header, bytes), damage: undefined };
  } catch (damage) {
    const lastLba = sizeBytes / sectorSizeBytes - 1;
    if (!(damage instanceof DiskError) || toNumber(header.readBigUInt64LE(32)) !== lastLba) throw damage;
    const table = parseBackup(bytesOf(tail, sizeBytes - tail.length, path, sectorSizeBytes), lastLba);
    if (table === undefined) throw damage;
    return { table, damage };
  }
}

/** @returns undefined if there is none, or it is damaged, too */
function parseBackup(bytes: Bytes, lastLba: number): PartitionTable | undefined {
  try {
    const header = headerAt(bytes.view.length - bytes.sectorSizeBytes, bytes);
    if (header === undefined || toNumber(header.readBigUInt64LE(24)) !== lastLba) return undefined;
    return { ...tableOf(header, bytes), alternateLba: lastLba };
  } catch (error) {
    if (error instanceof DiskError) return undefined;
    throw error;
  }
}

function bytesOf(part: Uint8Array, startBytes: number, name: string, sectorSizeBytes: number): Bytes {
  const fail = (why: string) => new DiskError({ what: 'read', target: `the partition table of ${name}`, why });
  return { view: Buffer.from(part.buffer, part.byteOffset, part.byteLength), startBytes, sectorSizeBytes, fail };
}

function primaryHeader(bytes: Bytes): Buffer | undefined {
  const { view, sectorSizeBytes, fail } = bytes;
  const header = headerAt(sectorSizeBytes, bytes);
  if (header === undefined && sectorSizeBytes === 512 && hasTable(view, 4096))
    throw fail('it uses 4096-byte sectors, but the disk has 512-byte sectors');
  return header;
}

/** @returns undefined if there is none */
function headerAt(start: number, { view, sectorSizeBytes, fail }: Bytes): Buffer | undefined {
  const header = view.subarray(start, start + sectorSizeBytes);
  if (start < 0 || header.length < sectorSizeBytes || header.toString('latin1', 0, 8) !== signature) return undefined;
  const size = header.readUInt32LE(12);
  if (size < headerBytes || size > sectorSizeBytes) throw fail(`its header claims a size of ${size} bytes`);
  const checked = Buffer.from(header.subarray(0, size)).fill(0, 16, 20);
  if (crc32(checked) !== header.readUInt32LE(16)) throw fail('the checksum of its header is wrong');
  return header;
}

function tableOf(header: Buffer, { view, startBytes, sectorSizeBytes, fail }: Bytes): PartitionTable {
  const entriesOffset = toNumber(header.readBigUInt64LE(72)) * sectorSizeBytes - startBytes;
  const entryCount = header.readUInt32LE(80);
  const entrySize = header.readUInt32LE(84);
  const end = entriesOffset + entryCount * entrySize;
  if (entrySize < 128 || entriesOffset < 0 || end > view.length)
    throw fail(`its entries are outside of the first ${view.length} bytes`);
  const entries = view.subarray(entriesOffset, end);
  if (crc32(entries) !== header.readUInt32LE(88)) throw fail('the checksum of its entries is wrong');

  const partitions: Partition[] = [];
  for (let index = 0; index < entryCount; index++) {
    const entry = entries.subarray(index * entrySize, (index + 1) * entrySize);
    const partition = parseEntry(entry, index + 1, sectorSizeBytes);
    if (partition === undefined) continue;
    if (partition.lastLba < partition.firstLba) throw fail(`partition ${partition.number} ends before it starts`);
    partitions.push(partition);
  }
  return {
    sectorSizeBytes,
    diskGuid: readGuid(header, 56),
    alternateLba: toNumber(header.readBigUInt64LE(32)),
    partitions,
  };
}

const entryCount = 128;
const entryBytes = 128;
/** The highest partition number. */
export const maxPartitions = entryCount;

/** Size of the backup of a table at the end of a disk: entries and header. */
export function backupBytes(sectorSizeBytes: number): number {
  return entryCount * entryBytes + sectorSizeBytes;
}

/**
 * Whether a table that {@link encodeTable} makes for a disk of this size has these partitions, and
 * neither it nor its backup lies in one of them.
 */
export function fitsNewTable({ partitions, sectorSizeBytes }: PartitionTable, diskBytes: number): boolean {
  const start = sectorSizeBytes + backupBytes(sectorSizeBytes);
  const end = diskBytes - backupBytes(sectorSizeBytes);
  return partitions.every(
    ({ number, offsetBytes, sizeBytes }) =>
      number <= maxPartitions && offsetBytes >= start && offsetBytes + sizeBytes <= end,
  );
}

/**
 * The bytes of a table for a disk of this size (UEFI specification 2.10, sections 5.2.3 and 5.3).
 * @returns `primary` for the start of the disk, protective MBR included, and `backup` for its end
 */
export function encodeTable(
  table: Pick<PartitionTable, 'diskGuid' | 'partitions' | 'sectorSizeBytes'>,
  diskBytes: number,
): { primary: Uint8Array; backup: Uint8Array } {
  const { sectorSizeBytes } = table;
  const lastLba = diskBytes / sectorSizeBytes - 1;
  const entries = Buffer.alloc(entryCount * entryBytes);
  for (const partition of table.partitions) writeEntry(entries, partition);
  const entrySectors = entries.length / sectorSizeBytes;
  const header = (ownLba: number, otherLba: number, entriesLba: number) => {
    const bytes = Buffer.alloc(sectorSizeBytes);
    bytes.write(signature, 'latin1');
    bytes.writeUInt32LE(0x00010000, 8);
    bytes.writeUInt32LE(headerBytes, 12);
    bytes.writeBigUInt64LE(BigInt(ownLba), 24);
    bytes.writeBigUInt64LE(BigInt(otherLba), 32);
    bytes.writeBigUInt64LE(BigInt(2 + entrySectors), 40);
    bytes.writeBigUInt64LE(BigInt(lastLba - entrySectors - 1), 48);
    writeGuid(bytes, 56, table.diskGuid);
    bytes.writeBigUInt64LE(BigInt(entriesLba), 72);
    bytes.writeUInt32LE(entryCount, 80);
    bytes.writeUInt32LE(entryBytes, 84);
    bytes.writeUInt32LE(crc32(entries), 88);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, headerBytes)), 16);
    return bytes;
  };
  const primary = [protectiveRecord(lastLba, sectorSizeBytes), header(1, lastLba, 2), entries];
  const backup = [entries, header(lastLba, 1, lastLba - entrySectors)];
  return { primary: Buffer.concat(primary), backup: Buffer.concat(backup) };
}

function protectiveRecord(lastLba: number, sectorSizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sectorSizeBytes);
  bytes.set([0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff], 446);
  bytes.writeUInt32LE(1, 454);
  bytes.writeUInt32LE(Math.min(lastLba, 0xffffffff), 458);
  bytes.writeUInt16BE(0x55aa, 510);
  return bytes;
}

function writeEntry(entries: Buffer, partition: Partition): void {
  const entry = entries.subarray((partition.number - 1) * entryBytes, partition.number * entryBytes);
  writeGuid(entry, 0, partition.typeGuid);
  writeGuid(entry, 16, partition.uniqueGuid);
  entry.writeBigUInt64LE(BigInt(partition.firstLba), 32);
  entry.writeBigUInt64LE(BigInt(partition.lastLba), 40);
  entry.writeBigUInt64LE(partition.attributes, 48);
  entry.write(partition.label, 56, 72, 'utf16le');
}

/**
 * The only partition with this label.
 * @throws {DiskError} there is none, or more than one
 */
export function findPartition(table: PartitionTable, label: string, name: string): Partition {
  const [found, another] = table.partitions.filter((partition) => partition.label === label);
  const fail = (why: string) => new DiskError({ what: 'find', target: `the partition ${label} on ${name}`, why });
  if (found === undefined) {
    const labels = table.partitions.map((partition) => partition.label || `#${partition.number}`).join(', ');
    throw fail(labels === '' ? 'there are no partitions' : `there are only ${labels}`);
  }
  if (another !== undefined) throw fail(`partitions ${found.number} and ${another.number} both have this label`);
  return found;
}

/** Whether the first bytes of a disk or image have the header of a GPT for sectors of this size. */
export function hasTable(head: Uint8Array, sectorSizeBytes: number): boolean {
  const found = Buffer.from(head.subarray(sectorSizeBytes, sectorSizeBytes * 2));
  return found.length === sectorSizeBytes && found.toString('latin1', 0, 8) === signature;
}

function parseEntry(entry: Buffer, number: number, sectorSizeBytes: number): Partition | undefined {
  const typeGuid = readGuid(entry, 0);
  if (typeGuid === nilGuid) return undefined;
  const firstLba = toNumber(entry.readBigUInt64LE(32));
  const lastLba = toNumber(entry.readBigUInt64LE(40));
  return {
    number,
    typeGuid,
    uniqueGuid: readGuid(entry, 16),
    label: entry.toString('utf16le', 56, 128).replace(/\0.*$/s, ''),
    firstLba,
    lastLba,
    attributes: entry.readBigUInt64LE(48),
    offsetBytes: firstLba * sectorSizeBytes,
    sizeBytes: (lastLba - firstLba + 1) * sectorSizeBytes,
  };
}

/** The first three groups are little-endian (UEFI specification, appendix A). */
function readGuid(bytes: Buffer, offset: number): string {
  const hex = (start: number, end: number) => bytes.toString('hex', offset + start, offset + end);
  const swapped = (start: number, end: number) =>
    Buffer.from(bytes.subarray(offset + start, offset + end))
      .reverse()
      .toString('hex');
  return [swapped(0, 4), swapped(4, 6), swapped(6, 8), hex(8, 10), hex(10, 16)].join('-');
}

function writeGuid(bytes: Buffer, offset: number, guid: string): void {
  const digits = Buffer.from(guid.replaceAll('-', ''), 'hex');
  const groups = [digits.subarray(0, 4), digits.subarray(4, 6), digits.subarray(6, 8)];
  bytes.set([...groups.flatMap((group) => [...group].reverse()), ...digits.subarray(8)], offset);
}

/** Sector numbers above 2^53 occur only in damaged tables; there the rounding does no harm. */
function toNumber(value: bigint): number {
  return Number(value);
}
