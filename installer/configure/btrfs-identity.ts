import { open } from 'node:fs/promises';
import { writeFully } from '../disk/write-fully.ts';

/**
 * On-disk format of btrfs: https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html. Numbers
 * are little-endian.
 */
const superblockBytes = 4096;
/** Copies of the superblock. */
const superblockOffsets = [64 * 1024, 64 * 1024 * 1024];
const magic = Buffer.from('_BHRfS_M');
const magicOffset = 64;
const nodeSizeOffset = 0x94;
/** Of the superblock: text that ends with a zero byte. */
const labelPlace = { offset: 0x12b, bytes: 256 };
/** Of the superblock's device item, which starts at 0xc9. */
const deviceUuidOffset = 0xc9 + 66;

const checksumBytes = 32;
const uuidBytes = 16;
/** Of a tree block. */
const header = { fsid: 32, chunkTreeUuid: 64, itemCount: 96, level: 100, bytes: 101 };
/** Of an item of a leaf: key (object, type, offset), place of its data behind the header. */
const item = { type: 8, keyOffset: 9, dataOffset: 17, dataBytes: 21, bytes: 25 };
/** Of a key and the place of its block, in a tree block that is no leaf. */
const pointerBytes = 33;
const inodeItem = 1;
/** Directory entries by the hash of the name, and by their number. */
const directoryItems: readonly number[] = [84, 96];
const rootItem = 132;
const uuidItem = 251;
/** Offsets of times (seconds, nanoseconds) in items. */
const inodeTimes = { access: 112, change: 124, modification: 136, creation: 148 };
const rootTimes = [327, 339, 351, 363];
const rootUuidOffset = 247;
const timeBytes = 12;
/** Of an entry: transaction, size of data and of name behind it. */
const entry = { transaction: 17, dataBytes: 25, nameBytes: 27, bytes: 30 };

/** Times of files in a new file system. */
export interface FileTimes {
  /** Times of modification that stay, in nanoseconds since 1970. */
  readonly kept: ReadonlySet<bigint>;
  /** Seconds since 1970, for all other times. */
  readonly otherSeconds: number;
}

/**
 * Replaces what mkfs.btrfs makes up, in a file with a new file system: the identifiers of device,
 * chunk tree and subvolume are derived from that of the file system, the times of files are those
 * of their modification, and all times become the same but those that are known. The identifier of
 * the file system itself, and times of modification, are given to mkfs.btrfs. Then the same files
 * give the same bytes.
 * @throws {Error} there is no btrfs in it
 */
export async function unifyBtrfs(path: string, times: FileTimes): Promise<void> {
  await using file = await open(path, 'r+');
  const { size } = await file.stat();
  const read = async (offset: number, length: number) =>
    (await file.read(Buffer.alloc(length), 0, length, offset)).buffer;
  const first = await read(superblockOffsets[0] ?? 0, superblockBytes);
  if (!isSuperblock(first)) throw new Error(`${path} has no btrfs`);
  const fsid = first.subarray(header.fsid, header.fsid + uuidBytes);
  const replacements = [{ from: deviceUuid(first), to: derived(fsid, 1) }];
  for (const offset of superblockOffsets.filter((one) => one + superblockBytes <= size)) {
    const block = await read(offset, superblockBytes);
    if (!isSuperblock(block)) continue;
    replaceAll(block, replacements);
    await writeFully(file, sealed(block), offset);
  }
  const nodeBytes = first.readUInt32LE(nodeSizeOffset);
  for (let offset = 0; offset + nodeBytes <= size; offset += nodeBytes) {
    const block = await read(offset, nodeBytes);
    if (block.compare(fsid, 0, uuidBytes, header.fsid, header.fsid + uuidBytes) !== 0 || !isSealed(block)) continue;
    const chunkTree = Buffer.from(block.subarray(header.chunkTreeUuid, header.chunkTreeUuid + uuidBytes));
    replaceAll(block, [...replacements, { from: chunkTree, to: derived(fsid, 2) }]);
    if (block[header.level] === 0) unifyItems(block, fsid, times);
    clearUnused(block);
    await writeFully(file, sealed(block), offset);
  }
}

/**
 * Identifier and label of the file system in a file, as mkfs.btrfs takes them. The command btrfs
 * tells a label only to those who may see the files of all loop devices.
 * @throws {Error} there is no btrfs in it
 */
export async function readBtrfsIdentity(path: string): Promise<{ readonly uuid: string; readonly label: string }> {
  await using file = await open(path, 'r');
  const { buffer } = await file.read(Buffer.alloc(superblockBytes), 0, superblockBytes, superblockOffsets[0]);
  if (!isSuperblock(buffer)) throw new Error(`${path} has no btrfs`);
  const hex = buffer.toString('hex', header.fsid, header.fsid + uuidBytes);
  const label = buffer.subarray(labelPlace.offset, labelPlace.offset + labelPlace.bytes);
  const end = label.indexOf(0);
  return {
    uuid: hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
    label: label.toString('utf8', 0, end < 0 ? label.length : end),
  };
}

function unifyItems(leaf: Buffer, fsid: Buffer, times: FileTimes): void {
  const subvolume = derived(fsid, 3);
  for (let index = 0; index < leaf.readUInt32LE(header.itemCount); index++) {
    const key = header.bytes + index * item.bytes;
    const data = header.bytes + leaf.readUInt32LE(key + item.dataOffset);
    const type = leaf[key + item.type];
    const end = data + leaf.readUInt32LE(key + item.dataBytes);
    if (type === inodeItem) unifyInode(leaf, data, times);
    if (type !== undefined && directoryItems.includes(type)) unifyEntries(leaf, data, end);
    if (type === uuidItem) {
      // The two halves of the identifier are object and offset of the key. It is the only one.
      subvolume.copy(leaf, key, 0, 8);
      subvolume.copy(leaf, key + item.keyOffset, 8);
    }
    if (type !== rootItem || end < data + rootUuidOffset + uuidBytes) continue;
    const uuid = leaf.subarray(data + rootUuidOffset, data + rootUuidOffset + uuidBytes);
    if (uuid.some((byte) => byte !== 0)) subvolume.copy(uuid);
    unifyInode(leaf, data, times);
    for (const offset of rootTimes) replaceTime(leaf, data + offset, times.otherSeconds);
  }
}

/** btrfs-progs leaves the times of items that it has removed, at least 6.14. */
function clearUnused(block: Buffer): void {
  const count = block.readUInt32LE(header.itemCount);
  if (block[header.level] !== 0) {
    block.fill(0, header.bytes + count * pointerBytes);
    return;
  }
  let end = block.length;
  for (let index = 0; index < count; index++)
    end = Math.min(end, header.bytes + block.readUInt32LE(header.bytes + index * item.bytes + item.dataOffset));
  block.fill(0, header.bytes + count * item.bytes, end);
}

/** btrfs-progs 6.2 does not set the transaction of an entry; nothing reads it. */
function unifyEntries(leaf: Buffer, start: number, end: number): void {
  for (let at = start; at + entry.bytes <= end; ) {
    leaf.fill(0, at + entry.transaction, at + entry.dataBytes);
    at += entry.bytes + leaf.readUInt16LE(at + entry.dataBytes) + leaf.readUInt16LE(at + entry.nameBytes);
  }
}

function unifyInode(leaf: Buffer, data: number, { kept, otherSeconds }: FileTimes): void {
  const modified = data + inodeTimes.modification;
  const nanoseconds = leaf.readBigInt64LE(modified) * 1_000_000_000n + BigInt(leaf.readUInt32LE(modified + 8));
  if (!kept.has(nanoseconds)) replaceTime(leaf, modified, otherSeconds);
  for (const offset of [inodeTimes.access, inodeTimes.change])
    leaf.copyWithin(data + offset, modified, modified + timeBytes);
  replaceTime(leaf, data + inodeTimes.creation, otherSeconds);
}

/** A time that is not set stays so. */
function replaceTime(leaf: Buffer, offset: number, seconds: number): void {
  if (leaf.readBigInt64LE(offset) === 0n) return;
  leaf.writeBigInt64LE(BigInt(seconds), offset);
  leaf.writeUInt32LE(0, offset + 8);
}

function deviceUuid(superblock: Buffer): Buffer {
  return Buffer.from(superblock.subarray(deviceUuidOffset, deviceUuidOffset + uuidBytes));
}

function replaceAll(block: Buffer, replacements: readonly { readonly from: Buffer; readonly to: Buffer }[]): void {
  for (const { from, to } of replacements) {
    for (let at = block.indexOf(from); at !== -1; at = block.indexOf(from, at + uuidBytes)) to.copy(block, at);
  }
}

function derived(fsid: Buffer, number: number): Buffer {
  const uuid = Buffer.from(fsid);
  uuid[uuidBytes - 1] = (uuid[uuidBytes - 1] ?? 0) ^ number;
  return uuid;
}

function isSuperblock(block: Buffer): boolean {
  return block.compare(magic, 0, magic.length, magicOffset, magicOffset + magic.length) === 0;
}

function isSealed(block: Buffer): boolean {
  return block.readUInt32LE(0) === crc32c(block.subarray(checksumBytes));
}

/** With its checksum. */
function sealed(block: Buffer): Buffer {
  block.writeUInt32LE(crc32c(block.subarray(checksumBytes)), 0);
  return block;
}

/** CRC-32C (RFC 3720, appendix B.4): the polynomial 0x1EDC6F41, reflected. */
const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

function crc32c(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) value = (value >>> 8) ^ (crcTable[(value ^ byte) & 0xff] ?? 0);
  return (value ^ 0xffffffff) >>> 0;
}
