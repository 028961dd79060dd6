import assert from 'node:assert/strict';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { execa } from 'execa';
import { findPartition, parseEitherTable, parseTable } from '../../../installer/disk/gpt.ts';
import { makeFlatcarImage, partitionOffsetBytes } from '../../sandbox/flatcar-layout.ts';

const mebibyte = 1024 * 1024;

let directory: string;
let image: string;
let imageBytes: number;
let head: Buffer;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-gpt-'));
  image = join(directory, 'image');
  imageBytes = await makeFlatcarImage({ path: image });
  await using file = await open(image, 'r');
  head = (await file.read(Buffer.alloc(mebibyte), 0, mebibyte, 0)).buffer;
});

after(() => rm(directory, { recursive: true }));

/** A copy with one byte changed, and checksums that are right nevertheless. */
function changed(offset: number, value: number): Buffer {
  const copy = Buffer.from(head);
  copy.writeUInt8(value, offset);
  copy.writeUInt32LE(crc32(copy.subarray(1024, 1024 + 128 * 128)), 512 + 88);
  copy.writeUInt32LE(0, 512 + 16);
  copy.writeUInt32LE(crc32(copy.subarray(512, 512 + 92)), 512 + 16);
  return copy;
}

test('parseTable() reads what sfdisk reads', async () => {
  const table = parseTable(head, 'the image');
  const { partitiontable } = JSON.parse((await execa('sfdisk', ['--json', image])).stdout);
  assert.equal(table?.diskGuid, '00000000-0000-0000-0000-000000000001');
  assert.equal((table?.alternateLba ?? 0) + 1, imageBytes / 512);
  assert.deepEqual(
    table?.partitions.map((partition) => ({
      node: `${image}${partition.number}`,
      start: partition.firstLba,
      size: partition.lastLba - partition.firstLba + 1,
      type: partition.typeGuid.toUpperCase(),
      uuid: partition.uniqueGuid.toUpperCase(),
      name: partition.label,
      ...(partition.attributes === 0n ? {} : { attrs: 'GUID:48,56' }),
    })),
    partitiontable.partitions,
  );
});

test('findPartition() knows where a partition is, in bytes', () => {
  const table = parseTable(head, 'the image');
  assert.ok(table);
  const oem = findPartition(table, 'OEM', 'the image');
  assert.equal(oem.number, 6);
  assert.equal(oem.offsetBytes, partitionOffsetBytes('OEM'));
  assert.equal(oem.sizeBytes, 128 * mebibyte);
  assert.throws(() => findPartition(table, 'oem', '/dev/x'), /partition oem on \/dev\/x: there are only EFI-SYSTEM, /);
  const twice = { ...table, partitions: [...table.partitions, { ...oem, number: 10 }] };
  const unnamed = { ...table, partitions: table.partitions.slice(0, 1).map((one) => ({ ...one, label: '' })) };
  assert.throws(() => findPartition(unnamed, 'OEM', '/dev/x'), /there are only #\d+/);
  assert.throws(() => findPartition({ ...table, partitions: [] }, 'OEM', '/dev/x'), /there are no partitions/);
  assert.throws(() => findPartition(twice, 'OEM', '/dev/x'), /partitions 6 and 10 both have this label/);
});

test('parseTable() finds no table where there is none', () => {
  assert.equal(parseTable(Buffer.alloc(mebibyte), 'x'), undefined);
  assert.equal(parseTable(Buffer.alloc(100), 'x'), undefined);
  assert.equal(parseTable(Buffer.alloc(0), 'x'), undefined);
});

test('parseTable() refuses a damaged table', () => {
  const damagedHeader = Buffer.from(head);
  damagedHeader.writeUInt8(1, 512 + 40);
  assert.throws(() => parseTable(damagedHeader, 'x'), /the partition table of x: the checksum of its header is wrong/);
  const damagedEntries = Buffer.from(head);
  damagedEntries.writeUInt8(1, 1024 + 200);
  assert.throws(() => parseTable(damagedEntries, 'x'), /the checksum of its entries is wrong/);
  assert.throws(() => parseTable(head.subarray(0, 4096), 'x'), /its entries are outside of the first 4096 bytes/);
  assert.throws(() => parseTable(changed(512 + 12, 91), 'x'), /its header claims a size of 91 bytes/);
  assert.throws(() => parseTable(changed(512 + 84, 64), 'x'), /its entries are outside/);
  assert.throws(() => parseTable(changed(1024 + 32 + 3, 1), 'x'), /partition 1 ends before it starts/);
  assert.ok(parseTable(changed(1024 + 48, 1), 'x'));
});

test('parseEitherTable() reads the backup where the entries of the primary table are damaged', async () => {
  await using file = await open(image, 'r');
  const tail = (await file.read(Buffer.alloc(mebibyte), 0, mebibyte, imageBytes - mebibyte)).buffer;
  const disk = { path: '/dev/sdx', sizeBytes: imageBytes, sectorSizeBytes: 512 };
  const { table, damage } = parseEitherTable(head, tail, disk);
  assert.deepEqual([table, damage], [parseTable(head, 'the image'), undefined]);
  assert.deepEqual(parseEitherTable(new Uint8Array(mebibyte), tail, disk), { table: undefined, damage: undefined });

  const flipped = (bytes: Buffer, offset: number) => {
    const copy = Buffer.from(bytes);
    copy.writeUInt8(copy.readUInt8(offset) ^ 1, offset);
    return copy;
  };
  const torn = flipped(head, 1024);
  const found = parseEitherTable(torn, tail, disk);
  assert.deepEqual(found.table, table);
  assert.match(
    found.damage?.message ?? '',
    /^cannot read the partition table of \/dev\/sdx: the checksum of its entries is/,
  );
  const refused = { name: 'DiskError', message: /the checksum of its entries is wrong/ };
  // Its header names another sector: an image that was copied onto a larger disk.
  assert.throws(() => parseEitherTable(torn, tail, { ...disk, sizeBytes: imageBytes + 512 }), refused);
  assert.throws(() => parseEitherTable(torn, flipped(tail, mebibyte - 512 + 16), disk), refused);
  assert.throws(() => parseEitherTable(torn, flipped(tail, mebibyte - 33 * 512), disk), refused);
  assert.throws(() => parseEitherTable(torn, new Uint8Array(mebibyte), disk), refused);
  assert.throws(() => parseEitherTable(flipped(head, 512 + 24), tail, disk), /the checksum of its header is wrong/);
});

test('parseTable() recognises a table for sectors of 4096 bytes, and reads it when asked to', async () => {
  const large = join(directory, 'large-sectors');
  await execa('truncate', ['--size', '64M', large]);
  const loop = (await execa('losetup', ['--find', '--show', '--sector-size', '4096', large])).stdout;
  try {
    const input = 'label: gpt\nname=ONLY';
    await execa('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', loop], { input });
  } finally {
    await execa('losetup', ['--detach', loop]);
  }
  await using file = await open(large, 'r');
  const { buffer } = await file.read(Buffer.alloc(mebibyte), 0, mebibyte, 0);
  assert.throws(() => parseTable(buffer, 'x'), /it uses 4096-byte sectors/);
  assert.equal(parseTable(buffer, 'x', 4096)?.partitions[0]?.offsetBytes, mebibyte);
});
