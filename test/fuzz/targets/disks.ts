/** What is read from disks: partition tables, superblocks, and what lsblk says of them. */
import { crc32 } from 'node:zlib';
import { ZodError } from 'zod';
import { filesystemOf, startBytes } from '../../../installer/configure/superblock.ts';
import { DiskError } from '../../../installer/disk/errors.ts';
import {
  encodeTable,
  findPartition,
  type PartitionTable,
  parseEitherTable,
  parseTable,
} from '../../../installer/disk/gpt.ts';
import { matchesHint, parseHint } from '../../../installer/disk/hints.ts';
import { parseLsblk } from '../../../installer/disk/lsblk.ts';
import { parseRecord } from '../../../installer/disk/mbr.ts';
import { SavedPartitions } from '../../../installer/disk/saved-partitions.ts';
import { parseBytes } from '../../../installer/size.ts';
import { jsonWith, wordsOf } from '../inputs.ts';
import { require, type Target } from '../target.ts';

const diskBytes = 2 ** 30;

function tableOf(sectorSizeBytes: number, labels: readonly string[]): Uint8Array {
  const guid = (last: number) => `0fc63daf-8483-4772-8e79-3d69d8477d${last.toString(16).padStart(2, '0')}`;
  const partitions = labels.map((label, index) => ({
    ...{ number: index + 1, typeGuid: guid(0xe4), uniqueGuid: guid(index), label, attributes: 1n << 63n },
    ...{ firstLba: 2048 + index * 100, lastLba: 2147 + index * 100, offsetBytes: 0, sizeBytes: 0 },
  }));
  return encodeTable({ diskGuid: guid(255), partitions, sectorSizeBytes }, diskBytes).primary;
}

/** All of a small disk whose primary table has no sound entries. */
function tornDisk(sectorSizeBytes: number): Buffer {
  const disk = Buffer.alloc(160 * sectorSizeBytes);
  const guid = '0fc63daf-8483-4772-8e79-3d69d8477de4';
  const place = { firstLba: 40, lastLba: 99, offsetBytes: 0, sizeBytes: 0 };
  const partition = { number: 1, typeGuid: guid, uniqueGuid: guid, label: 'data', attributes: 0n, ...place };
  const { primary, backup } = encodeTable({ diskGuid: guid, partitions: [partition], sectorSizeBytes }, disk.length);
  disk.set(primary);
  disk.set(backup, disk.length - backup.length);
  return disk.fill(1, 2 * sectorSizeBytes, 2 * sectorSizeBytes + 8);
}

/** Right checksums, so that changed tables are looked at. */
function withChecksums(input: Buffer, sectorSizeBytes: number): Buffer | undefined {
  const bytes = Buffer.from(input);
  if (bytes.length < 2 * sectorSizeBytes) return undefined;
  const header = bytes.subarray(sectorSizeBytes, 2 * sectorSizeBytes);
  header.write('EFI PART', 'latin1');
  if (header.readUInt32LE(12) > sectorSizeBytes || header.readUInt32LE(12) < 92) header.writeUInt32LE(92, 12);
  const start = Number(header.readBigUInt64LE(72)) * sectorSizeBytes;
  header.writeUInt32LE(crc32(bytes.subarray(start, start + header.readUInt32LE(80) * header.readUInt32LE(84))), 88);
  header.writeUInt32LE(0, 16);
  header.writeUInt32LE(crc32(header.subarray(0, header.readUInt32LE(12))), 16);
  return bytes;
}

function describe({ diskGuid, partitions }: PartitionTable): string {
  return JSON.stringify([diskGuid, partitions.map((one) => ({ ...one, attributes: String(one.attributes) }))]);
}

function checkTable(table: PartitionTable): void {
  const { sectorSizeBytes, partitions } = table;
  for (const { label } of partitions) {
    try {
      findPartition(table, label, 'disk');
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
    }
  }
  const disk = { path: '/dev/vda', sizeBytes: diskBytes, sectorSizeBytes };
  const image = parseTable(tableOf(sectorSizeBytes, ['EFI-SYSTEM', 'USR-A']), 'image', sectorSizeBytes);
  const saved = new SavedPartitions(table, { labels: ['*A*', '?'], numbers: [{ first: 3, last: 200 }] }, disk);
  if (image === undefined || saved.partitions.length === 0) return;
  saved.requireRoomBeside(image);
  const { head, tail } = saved.ends(4 * 1024 * 1024);
  const kept = parseTable(head, 'disk', sectorSizeBytes);
  require(kept !== undefined && describe(kept) === describe({ ...table, partitions: saved.partitions }), () =>
    `saved partitions change: ${describe({ ...table, partitions: saved.partitions })}, ${kept && describe(kept)}`);
  require(tail.length <= 4 * 1024 * 1024, () => `the end has ${tail.length} bytes`);
  const added = saved.addTo(image);
  const written = encodeTable(added, diskBytes);
  const reread = parseTable(written.primary, 'disk', sectorSizeBytes);
  const byNumber = { ...added, partitions: added.partitions.toSorted((a, b) => a.number - b.number) };
  require(reread !== undefined && describe(reread) === describe(byNumber), () => 'the new table reads otherwise');
}

export const gptTarget: Target = {
  name: 'gpt',
  seeds: [
    ...[tableOf(512, ['ROOT', 'A', 'B', 'DATA', 'C']), tableOf(4096, ['ROOT', 'ÄÖ', 'AA']), tableOf(512, [])],
    tornDisk(512),
  ],
  words: ['EFI PART', '\x01\0\0\0', 'R\0O\0O\0T\0'],
  refusals: [DiskError],
  check(input) {
    for (const sectorSizeBytes of [512, 4096]) {
      for (const bytes of [input, withChecksums(input, sectorSizeBytes)]) {
        if (bytes === undefined) continue;
        const sizeBytes = bytes.length - (bytes.length % sectorSizeBytes);
        const disk = { path: 'disk', sizeBytes, sectorSizeBytes };
        for (const read of [
          () => parseTable(bytes, 'disk', sectorSizeBytes),
          () => parseEitherTable(bytes, bytes.subarray(0, sizeBytes), disk).table,
        ]) {
          try {
            const table = read();
            if (table !== undefined) checkTable(table);
          } catch (error) {
            if (!(error instanceof DiskError)) throw error;
          }
        }
      }
    }
  },
};

function recordOf(...entries: readonly (readonly [type: number, start: number, sectors: number])[]): Buffer {
  const record = Buffer.alloc(512);
  for (const [index, [type, start, sectors]] of entries.entries()) {
    record.writeUInt8(type, 446 + index * 16 + 4);
    record.writeUInt32LE(start, 446 + index * 16 + 8);
    record.writeUInt32LE(sectors, 446 + index * 16 + 12);
  }
  record.writeUInt16BE(0x55aa, 510);
  return record;
}

export const mbrTarget: Target = {
  name: 'mbr',
  seeds: [
    recordOf([0x83, 2048, 100], [0x05, 1, 3]),
    Buffer.concat([
      recordOf([0x0f, 1, 100]),
      recordOf([0x83, 1, 5], [0x05, 1, 5]),
      recordOf([0x83, 1, 5], [0x05, 0, 5]),
    ]),
  ],
  words: ['U\xaa'],
  async check(input) {
    const disk = { path: '/dev/vda', sizeBytes: input.length, sectorSizeBytes: 512 };
    let reads = 0;
    const read = async (offset: number, length: number) => {
      require(++reads <= 1000, () => 'more than 1000 reads');
      require(Number.isSafeInteger(offset) && offset >= 0, () => `a read at ${offset}`);
      return input.subarray(offset, offset + length);
    };
    const regions = await parseRecord(read, disk);
    for (const { offsetBytes, sizeBytes } of regions)
      require(Number.isSafeInteger(offsetBytes + sizeBytes), () => `a region at ${offsetBytes} of ${sizeBytes}`);
  },
};

const btrfs = Buffer.alloc(startBytes);
btrfs.write('_BHRfS_M', 0x10040, 'latin1');
btrfs.writeBigUInt64LE(10n ** 10n, 0x10070);
const ext4 = Buffer.alloc(4096);
ext4.writeUInt16LE(0xef53, 1024 + 0x38);
ext4.writeUInt16LE(1, 1024 + 0x3a);
ext4.writeUInt32LE(0xffffffff, 1024 + 0x18);

export const superblockTarget: Target = {
  name: 'superblock',
  seeds: [btrfs, ext4, btrfs.subarray(0, 0x10048)],
  words: ['_BHRfS_M', 'S\xef'],
  maxBytes: startBytes,
  check(input) {
    const found = filesystemOf(input);
    const free = found?.freeBytes;
    require(free === undefined || (free >= 0 && !Number.isNaN(free)), () => `it has ${free} free bytes`);
  },
};

const columns = ['name', 'path', 'maj:min', 'type', 'size', 'log-sec', 'ro', 'rm', 'tran', 'model', 'mountpoints'];
const lsblkKeys = [...columns, 'serial', 'wwn', 'fstype', 'mountpoint', 'children', 'blockdevices'];
const device = {
  name: 'sda',
  path: '/dev/sda',
  'maj:min': '8:0',
  type: 'disk',
  size: 1000,
  ro: false,
  mountpoints: [null],
};

export const lsblkTarget: Target = {
  name: 'lsblk',
  seeds: [
    JSON.stringify({
      blockdevices: [{ ...device, children: [{ ...device, name: 'sda1', type: 'part', mountpoint: '/' }] }],
    }),
    '{"blockdevices":[{"name":"sdb","maj:min":"8:16","type":"disk","size":"10","ro":"0","model":"A\\x20B\u0001"}]}',
    // Each device has the uses of all below it.
    `{"blockdevices":[${'{"path":"/dev/a","maj:min":"1:1","children":['.repeat(800)}${']}'.repeat(800)}]}`,
    '',
  ],
  generated: jsonWith(lsblkKeys, ['/dev/sda', '8:0', 'disk', 'part', '[SWAP]', '/', '1', 'mpath']).map(
    (value) => `{"blockdevices":[${value}]}`,
  ),
  words: [...lsblkKeys, '\\x1b', '"children":[', '"maj:min":"8:1"'],
  check(input) {
    let devices: ReturnType<typeof parseLsblk>;
    try {
      devices = parseLsblk(input.toString());
    } catch (error) {
      // The caller takes it for "lsblk is unusable".
      if (error instanceof SyntaxError || error instanceof ZodError) return;
      throw error;
    }
    const again = JSON.stringify(devices);
    for (const { path, number, sizeBytes = 1 } of devices) {
      require(path !== '' && /^\d+:\d+$/.test(number), () => `a device without a path or number: ${again}`);
      require(Number.isSafeInteger(sizeBytes) && sizeBytes > 0, () => `a size of ${sizeBytes}`);
    }
  },
};

const disk = {
  ...{ path: '/dev/sda', links: ['/dev/disk/by-id/wwn-0x5000'], major: 8, minor: 0, type: 'disk', sizeBytes: 5e11 },
  ...{ sectorSizeBytes: 512, readOnly: false, removable: false, isExternal: false, mayOpen: true, rotational: true },
  ...{ transport: 'sata', vendor: 'ATA', model: 'Samsung aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', serial: 'S1' },
  ...{ wwn: '0x5000', signature: undefined, members: [], partitions: [], uses: [] },
};
const hintWords = [
  'model=',
  'size>=',
  'size<',
  'rotational=',
  'path=',
  'wwn=',
  'vendor=',
  'transport=',
  '400GB',
  '16GiB',
];

export const hintTarget: Target = {
  name: 'disk-hint',
  seeds: ['model=Samsung*,size>=400GB,rotational=no', 'path=/dev/disk/by-id/*,wwn=0x5000', 'size=1.5TB', 'size<=1'],
  generated: wordsOf([...hintWords, '*', '?', 'a*', 'no', 'yes', '5']),
  words: [...hintWords, 'a*', '*a', '?', 'kB'],
  maxBytes: 4096,
  check(input) {
    const text = input.toString();
    for (const part of text.split(/[,=<>]/)) {
      const bytes = parseBytes(part);
      require(bytes === undefined || bytes >= 0, () => `${JSON.stringify(part)} is ${bytes} bytes`);
    }
    const hint = parseHint(text);
    if ('wrong' in hint) require(hint.wrong !== '', () => 'a refusal without a reason');
    else matchesHint(hint, disk);
  },
};
