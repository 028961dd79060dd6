import { type Dialect, filesystemFormats } from './dialect.ts';
import { each, type JsonCursor, shorten } from './findings.ts';
import { whyNotCleanPath } from './path.ts';
import type { Disk3, Filesystem3, Partition3, Raid3 } from './schema3.ts';

export function checkDisks(disks: readonly Disk3[], cursor: JsonCursor): void {
  each(disks, cursor, ({ device, partitions }, at) => {
    at.at('device').error(whyNotCleanPath(device));
    each(partitions, at.at('partitions'), checkPartition);
    // Ignition compares the partitions only of a disk that has a name.
    if (device !== '') checkPartitions(partitions, at.at('partitions'));
  });
}

function checkPartitions(partitions: readonly Partition3[], cursor: JsonCursor): void {
  const numbered = partitions.some(({ number }) => number === 0n);
  if (numbered && partitions.some(({ shouldExist }) => shouldExist === false)) {
    cursor.error(
      'where a partition should not exist, every partition needs a number, or a new one could take its place',
    );
  }
  const numbers = new Set<bigint>();
  const labels = new Set<string>();
  each(partitions, cursor, ({ number, label }, at) => {
    if (numbers.has(number)) at.at('number').error(`a second partition has the number ${number}`);
    if (label !== undefined && labels.has(label))
      at.at('label').error(`a second partition has the label ${shorten(label)}`);
    if (number !== 0n) numbers.add(number);
    if (label !== undefined) labels.add(label);
  });
  checkOverlaps(
    partitions.map(({ startMiB: start, sizeMiB: size }) => ({ start, size })),
    cursor,
  );
}

function checkPartition(partition: Partition3, cursor: JsonCursor): void {
  const { guid, label, number, shouldExist, sizeMiB, startMiB, typeGuid } = partition;
  if (number === 0n && label === undefined) cursor.error('the partition needs a number or a label');
  const described = [label, typeGuid || undefined, guid || undefined, startMiB, sizeMiB];
  if (shouldExist === false && described.some((value) => value !== undefined)) {
    cursor.error('a partition that should not exist can have a number only');
  }
  if (label !== undefined) cursor.at('label').error(whyNotPartitionLabel(label));
  if (label?.includes(':')) cursor.at('label').error('a label cannot contain a colon');
  cursor.at('guid').error(whyNotGuid(guid));
  cursor.at('typeGuid').error(whyNotGuid(typeGuid));
}

/** In bytes. Source: the GPT has room for 36 UTF-16 code units; Ignition counts bytes. */
export function whyNotPartitionLabel(label: string): string | undefined {
  return Buffer.byteLength(label) > 36 ? 'the label is longer than 36 bytes' : undefined;
}

export function whyNotGuid(guid: string | undefined): string | undefined {
  if (guid === undefined || guid === '') return undefined;
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(guid)) return undefined;
  return `${shorten(guid)} is not a GUID in the form 01234567-89AB-CDEF-EDCB-A98765432101`;
}

/** Of a partition, in one unit. */
export interface Extent {
  readonly start: bigint | undefined;
  readonly size: bigint | undefined;
}

/** Partitions that start at 0 are placed in free space, and are not compared. */
export function checkOverlaps(partitions: readonly Extent[], cursor: JsonCursor): void {
  for (const [index, one] of partitions.entries()) {
    const other = partitions.findIndex((candidate) => candidate !== one && overlaps(one, candidate));
    if (other >= 0) {
      cursor.at(Math.max(index, other)).error(`the partition overlaps with ${Math.min(index, other)} of the list`);
      return;
    }
  }
}

function overlaps(one: Extent, other: Extent): boolean {
  const [start, end] = limitsOf(one) ?? [];
  const [otherStart, otherEnd] = limitsOf(other) ?? [];
  if (start === undefined || end === undefined || otherStart === undefined || otherEnd === undefined) return false;
  const isInOther = (place: bigint) => place >= otherStart && place <= otherEnd;
  // Sizes may be negative; Ignition compares them like this.
  return isInOther(start) || isInOther(end) || (start < otherStart && end > otherEnd);
}

/** Both inclusive. Of a partition that takes the rest of the disk only the start is known. */
function limitsOf({ start, size }: Extent): readonly [bigint, bigint] | undefined {
  if (start === undefined || size === undefined || start === 0n) return undefined;
  return [start, size === 0n ? start : BigInt.asIntN(64, start + size - 1n)];
}

/** The levels of mdadm(8) that Ignition accepts. */
const levelsWithoutSpares = ['linear', 'raid0', '0', 'stripe'];
const levelsWithSpares = ['raid1', '1', 'mirror', 'raid4', '4', 'raid5', '5', 'raid6', '6', 'raid10', '10'];

export function whyNotRaidLevel(level: string, spares: bigint): string | undefined {
  if (levelsWithSpares.includes(level)) return undefined;
  if (levelsWithoutSpares.includes(level))
    return spares === 0n ? undefined : `an array of the level ${level} has no spares`;
  const known = [...levelsWithoutSpares, ...levelsWithSpares].join(', ');
  return `${level === '' ? 'the level is missing' : `there is no level ${level}`}: it is one of ${known}`;
}

export function checkRaids(raids: readonly Raid3[], cursor: JsonCursor): void {
  each(raids, cursor, ({ level = '', devices, spares = 0n }, at) => {
    at.at('level').error(whyNotRaidLevel(level, spares));
    if (devices.length === 0) at.at('devices').error('the array has no devices');
    each(devices, at.at('devices'), (device, deviceAt) => deviceAt.error(whyNotCleanPath(device)));
  });
}

export function checkFilesystems(filesystems: readonly Filesystem3[], dialect: Dialect, cursor: JsonCursor): void {
  each(filesystems, cursor, (filesystem, at) => {
    const { device, format = '', label = '', mountOptions, options, path = '', uuid = '', wipeFilesystem } = filesystem;
    at.at('device').error(whyNotCleanPath(device));
    if (path !== '') at.at('path').error(whyNotCleanPath(path));
    const described = path !== '' || label !== '' || uuid !== '' || wipeFilesystem === true;
    if (format !== '' || described || mountOptions.length > 0 || options.length > 0)
      at.at('format').error(whyNotFormat(format, filesystemFormats(dialect)));
    at.at('label').error(whyNotFilesystemLabel(label, format));
  });
}

export function whyNotFormat(format: string, formats: readonly string[]): string | undefined {
  if (formats.includes(format)) return undefined;
  const what = format === '' ? 'the format is missing' : `the format ${shorten(format)} is not known`;
  return `${what}: it is one of ${formats.join(', ')}`;
}

/** In bytes. Source: the manual pages of the mkfs programs. */
const labelLimits: ReadonlyMap<string, number> = new Map([
  ['ext4', 16],
  ['btrfs', 256],
  ['xfs', 12],
  ['swap', 15],
  ['vfat', 11],
]);

export function whyNotFilesystemLabel(label: string | undefined, format: string): string | undefined {
  const limit = labelLimits.get(format);
  if (label === undefined || limit === undefined || Buffer.byteLength(label) <= limit) return undefined;
  return `the label is longer than the ${limit} bytes that ${format} has room for`;
}
