import type { Dialect } from './dialect.ts';
import { checkUnique, each, type JsonCursor, shorten } from './json-cursor.ts';
import { whyNotCleanPath } from './path.ts';
import type { Disk, Filesystem3, Partition, Raid } from './schema3.ts';

export function checkDisks(disks: readonly Disk[] | undefined, cursor: JsonCursor): void {
  each(disks, cursor, (disk, at) => {
    at.at('device').error(whyNotCleanPath(disk.device));
    checkPartitions(disk.partitions ?? [], at.at('partitions'));
  });
  checkUnique(disks, cursor, (disk) => disk.device ?? '');
}

function checkPartitions(partitions: readonly Partition[], cursor: JsonCursor): void {
  each(partitions, cursor, checkPartition);
  const numbered = partitions.some((partition) => (partition.number ?? 0) === 0);
  const absent = partitions.some((partition) => partition.shouldExist === false);
  if (numbered && absent) {
    cursor.error(
      'where a partition should not exist, every partition needs a number, or a new one could take its place',
    );
  }
  const numbers = new Set<number>();
  const labels = new Set<string>();
  each(partitions, cursor, ({ number = 0, label }, at) => {
    if (numbers.has(number)) at.at('number').error(`a second partition has the number ${number}`);
    if (label !== undefined && labels.has(label))
      at.at('label').error(`a second partition has the label ${shorten(label)}`);
    if (number !== 0) numbers.add(number);
    if (label !== undefined) labels.add(label);
  });
  checkOverlaps(partitions, cursor);
}

function checkPartition(partition: Partition, cursor: JsonCursor): void {
  const { guid, label, number = 0, shouldExist, sizeMiB, startMiB, typeGuid } = partition;
  if (number === 0 && label === undefined) cursor.error('the partition needs a number or a label');
  const described = [label, typeGuid || undefined, guid || undefined, startMiB, sizeMiB];
  if (shouldExist === false && described.some((value) => value !== undefined)) {
    cursor.error('a partition that should not exist can have a number only');
  }
  if (label !== undefined && Buffer.byteLength(label) > 36)
    cursor.at('label').error('the label is longer than 36 bytes');
  if (label?.includes(':')) cursor.at('label').error('a label cannot contain a colon');
  checkGuid(guid, cursor.at('guid'));
  checkGuid(typeGuid, cursor.at('typeGuid'));
}

function checkGuid(guid: string | undefined, cursor: JsonCursor): void {
  if (guid === undefined || guid === '') return;
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(guid)) return;
  cursor.error(`${shorten(guid)} is not a GUID in the form 01234567-89AB-CDEF-EDCB-A98765432101`);
}

interface Extent {
  readonly index: number;
  readonly start: number;
  /** Inclusive. Of a partition that takes the rest of the disk only the first MiB is known. */
  readonly end: number;
}

/** Partitions that start at 0 are placed in free space, and are not compared. */
function checkOverlaps(partitions: readonly Partition[], cursor: JsonCursor): void {
  const extents: Extent[] = [];
  for (const [index, { startMiB, sizeMiB }] of partitions.entries()) {
    if (startMiB === undefined || sizeMiB === undefined || startMiB === 0) continue;
    const extent = { index, start: startMiB, end: sizeMiB === 0 ? startMiB : startMiB + sizeMiB - 1 };
    const other = extents.find((earlier) => overlaps(extent, earlier));
    if (other !== undefined) cursor.at(index).error(`the partition overlaps with ${other.index} of the list`);
    extents.push(extent);
  }
}

function overlaps(one: Extent, other: Extent): boolean {
  const holds = ({ start, end }: Extent, mebibyte: number) => start <= mebibyte && mebibyte <= end;
  // Also of the ends, because sizes may be negative; Ignition compares them like this.
  return holds(one, other.start) || holds(one, other.end) || holds(other, one.start) || holds(other, one.end);
}

/** The levels of mdadm(8) that Ignition accepts. */
const levelsWithoutSpares = ['linear', 'raid0', '0', 'stripe'];
const levelsWithSpares = ['raid1', '1', 'mirror', 'raid4', '4', 'raid5', '5', 'raid6', '6', 'raid10', '10'];

export function checkRaids(raids: readonly Raid[] | undefined, cursor: JsonCursor): void {
  each(raids, cursor, (raid, at) => {
    const { level = '', devices = [], spares = 0 } = raid;
    if (levelsWithoutSpares.includes(level)) {
      if (spares !== 0) at.at('level').error(`an array of the level ${level} has no spares`);
    } else if (!levelsWithSpares.includes(level)) {
      const known = [...levelsWithoutSpares, ...levelsWithSpares].join(', ');
      at.at('level').error(
        `${level === '' ? 'the level is missing' : `there is no level ${level}`}: it is one of ${known}`,
      );
    }
    if (devices.length === 0) at.at('devices').error('the array has no devices');
    each(devices, at.at('devices'), (device, deviceAt) => deviceAt.error(whyNotCleanPath(device)));
    checkUnique(devices, at.at('devices'), (device) => device);
  });
  checkUnique(raids, cursor, (raid) => raid.name ?? '');
}

export function checkFilesystems(
  filesystems: readonly Filesystem3[] | undefined,
  dialect: Dialect,
  cursor: JsonCursor,
): void {
  each(filesystems, cursor, (filesystem, at) => {
    const { device, format = '', label, mountOptions = [], options = [], path = '', uuid, wipeFilesystem } = filesystem;
    at.at('device').error(whyNotCleanPath(device));
    if (path !== '') at.at('path').error(whyNotCleanPath(path));
    const described = [path, label, uuid].some((value) => value !== undefined && value !== '');
    const changed = described || wipeFilesystem === true || mountOptions.length > 0 || options.length > 0;
    if (format !== '' || changed) checkFormat(format, dialect, at.at('format'));
    checkFilesystemLabel(label, format, at.at('label'));
  });
  checkUnique(filesystems, cursor, (filesystem) => filesystem.device ?? '');
}

export function checkFormat(format: string, dialect: Dialect, cursor: JsonCursor): void {
  if (dialect.filesystemFormats.includes(format)) return;
  const what = format === '' ? 'the format is missing' : `the format ${shorten(format)} is not known`;
  cursor.error(`${what}: it is one of ${dialect.filesystemFormats.join(', ')}`);
}

/** In bytes. Source: the manual pages of the mkfs programs. */
const labelLimits: ReadonlyMap<string, number> = new Map([
  ['ext4', 16],
  ['btrfs', 256],
  ['xfs', 12],
  ['swap', 15],
  ['vfat', 11],
]);

export function checkFilesystemLabel(label: string | undefined, format: string, cursor: JsonCursor): void {
  const limit = labelLimits.get(format);
  if (label === undefined || limit === undefined || Buffer.byteLength(label) <= limit) return;
  cursor.error(`the label is longer than the ${limit} bytes that ${format} has room for`);
}
