import { type FileHandle, open } from 'node:fs/promises';
import { parseEitherTable } from './gpt.ts';
import { parseRecord, partitionPath } from './mbr.ts';

/** A signature by which a disk or partition belongs to an array, a pool or a cluster. */
export interface Member {
  /** The disk itself or its partition. */
  readonly device: string;
  /** libblkid's name where it has one: LVM2_member, zfs_member, … */
  readonly signature: string;
  /** What it belongs to: LVM, ZFS, … */
  readonly system: string;
  /** Storage of a system that other machines may be using, or that is not Linux' own. */
  readonly isForeign: boolean;
  /** Where the device is on the disk. */
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** A part of a disk that may have a signature of its own. */
export interface Region {
  readonly device: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  /** Of a GPT partition. */
  readonly typeGuid?: string;
}

type Signature = Pick<Member, 'signature' | 'system' | 'isForeign'>;

const mebibyte = 1024 * 1024;
/** Read at each end of a region: LUKS2 has the signature that is farthest from the start. */
const headBytes = 4 * mebibyte + 4096;
const tailBytes = mebibyte;

const own = (signature: string, system: string): Signature => ({ signature, system, isForeign: false });
const foreign = (signature: string, system: string): Signature => ({ signature, system, isForeign: true });

const signatures = {
  raid: own('linux_raid_member', 'Linux RAID'),
  lvm: own('LVM2_member', 'LVM'),
  luks: own('crypto_LUKS', 'LUKS'),
  bcache: own('bcache', 'bcache'),
  bcachefs: own('bcachefs', 'bcachefs'),
  drbd: own('drbd', 'DRBD'),
  ddf: own('ddf_raid_member', 'a RAID controller (DDF)'),
  imsm: own('isw_raid_member', 'Intel RAID'),
  stratis: own('stratis', 'Stratis'),
  vdo: own('vdo', 'VDO'),
  integrity: own('DM_integrity', 'dm-integrity'),
  btrfs: own('btrfs', 'a btrfs of several devices'),
  zfs: foreign('zfs_member', 'ZFS'),
  vmfs: foreign('VMFS_volume_member', 'VMFS'),
  gfs: foreign('gfs2', 'GFS2'),
  ocfs: foreign('ocfs2', 'OCFS2'),
  asm: foreign('oracleasm', 'Oracle ASM'),
  ceph: foreign('ceph_bluestore', 'Ceph'),
};

/**
 * Magic numbers at fixed places from the start of a region. Source: libblkid/src/superblocks of
 * util-linux 2.41; for each the project that defines it has the same.
 */
const magics: readonly (readonly [offsetBytes: number, magic: string, Signature])[] = [
  ...[0, 512, 1024, 1536].map((offset) => [offset + 24, 'LVM2 001', signatures.lvm] as const),
  [0, 'LUKS\xba\xbe', signatures.luks],
  // The second header of LUKS2, where the first one was overwritten.
  ...[0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000].map(
    (offset) => [offset, 'SKUL\xba\xbe', signatures.luks] as const,
  ),
  [0x1018, '\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81', signatures.bcache],
  [0x1018, '\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef', signatures.bcachefs],
  ...[512, 512 * 9].map((offset) => [offset + 4, '!Stra0tis\x86\xff\x02^\x41rh', signatures.stratis] as const),
  [0, 'dmvdo001', signatures.vdo],
  [0, 'integrt\0', signatures.integrity],
  [0x100000, '\x0d\xd0\x01\xc0', signatures.vmfs],
  [0x200000, '\x5e\xf1\xab\x2f', signatures.vmfs],
  // With the type of the block, the superblock.
  [0x10000, '\x01\x16\x19\x70\0\0\0\x01', signatures.gfs],
  ...[1024, 2048, 4096, 8192].map((offset) => [offset, 'OCFSV2', signatures.ocfs] as const),
  [32, 'ORCLDISK', signatures.asm],
  [0, 'bluestore block device', signatures.ceph],
];

/**
 * Types of GPT partitions for what has no magic number that is published, or hides it behind
 * encryption. Source: include/pt-gpt-partnames.h of util-linux; that of GPFS: IBM, "NSD server
 * configuration with GUID partition tables".
 */
const partitionTypes: Readonly<Record<string, Signature>> = {
  'aa31e02a-400f-11db-9590-000c2911d1b8': signatures.vmfs,
  '381cfccc-7288-11e0-92ee-000c2911d0b2': foreign('vsan', 'VMware Virtual SAN'),
  '37affc90-ef7d-4e96-91c3-2d7ae055b174': foreign('gpfs', 'GPFS'),
  '4fbd7e29-9d25-41b8-afd0-062c0ceff05d': signatures.ceph,
  '4fbd7e29-9d25-41b8-afd0-5ec00ceff05d': signatures.ceph,
  '45b0969e-9b03-4f30-b4c6-b4b80ceff106': signatures.ceph,
  '45b0969e-9b03-4f30-b4c6-5ec00ceff106': signatures.ceph,
  'af9b60a0-1431-4f62-bc68-3311714a69ad': own('ldm', 'dynamic disks of Windows'),
  'e75caf8f-f680-4cee-afa3-b001e56efc2d': own('storage_spaces', 'Storage Spaces of Windows'),
};

/**
 * Finds the signatures of arrays, pools and clusters on a disk and on each of its partitions: those
 * that the kernel has, and those in its partition table. Nothing is written. Each region is named
 * once for each signature.
 * @param known partitions that the kernel has
 * @throws {Error} of the system: the disk cannot be read
 */
export async function findMembers(
  disk: { readonly path: string; readonly sizeBytes: number; readonly sectorSizeBytes: number },
  known: readonly Region[],
  signal?: AbortSignal,
): Promise<Member[]> {
  await using device = await open(disk.path, 'r');
  const whole = { device: disk.path, offsetBytes: 0, sizeBytes: disk.sizeBytes };
  const inTable = await partitionsInTable(device, disk);
  const isKnown = ({ offsetBytes }: Region) => known.some((region) => region.offsetBytes === offsetBytes);
  const types = new Map(inTable.map(({ offsetBytes, typeGuid }) => [offsetBytes, typeGuid]));
  const regions: Region[] = [
    whole,
    ...known.map((region) => withType(region, types.get(region.offsetBytes))),
    ...inTable.filter((region) => !isKnown(region)),
  ];
  const members: Member[] = [];
  for (const { typeGuid, ...region } of regions) {
    signal?.throwIfAborted();
    // A table can claim partitions beyond the end of the disk.
    const sizeBytes = Math.min(region.sizeBytes, disk.sizeBytes - region.offsetBytes);
    const found = new Set(sizeBytes > 0 ? await signaturesIn(device, { ...region, sizeBytes }) : []);
    const byType = partitionTypes[typeGuid ?? ''];
    if (byType !== undefined) found.add(byType);
    for (const signature of found) members.push({ ...region, sizeBytes, ...signature });
  }
  return members;
}

function withType(region: Region, typeGuid: string | undefined): Region {
  return typeGuid === undefined ? region : { ...region, typeGuid };
}

async function partitionsInTable(
  device: FileHandle,
  disk: { readonly path: string; readonly sizeBytes: number; readonly sectorSizeBytes: number },
): Promise<Region[]> {
  const lengthBytes = Math.min(mebibyte, disk.sizeBytes);
  const head = await readAt(device, 0, lengthBytes);
  const tail = await readAt(device, disk.sizeBytes - lengthBytes, lengthBytes);
  try {
    const { table } = parseEitherTable(head, tail, disk);
    if (table !== undefined)
      return table.partitions.map(({ number, offsetBytes, sizeBytes, typeGuid }) => ({
        ...{ device: partitionPath(disk.path, number), offsetBytes, sizeBytes, typeGuid },
      }));
  } catch {
    // A damaged table: what the kernel made of it is all there is.
    return [];
  }
  return await parseRecord((offset, length) => readAt(device, offset, length), disk);
}

/** Bytes of both ends of a region, by their place in it. */
interface Ends {
  readonly sizeBytes: number;
  readonly head: Buffer;
  readonly tail: Buffer;
}

async function signaturesIn(device: FileHandle, { offsetBytes, sizeBytes }: Region): Promise<Signature[]> {
  const tail = Math.min(tailBytes, sizeBytes);
  const ends = {
    sizeBytes,
    head: await readAt(device, offsetBytes, Math.min(headBytes, sizeBytes)),
    tail: await readAt(device, offsetBytes + sizeBytes - tail, tail),
  };
  const found = magics
    .filter(([offset, magic]) => ends.head.toString('latin1', offset, offset + magic.length) === magic)
    .map(([, , signature]) => signature);
  if (hasRaid(ends)) found.push(signatures.raid);
  if (hasZfs(ends)) found.push(signatures.zfs);
  if (hasDrbd(ends)) found.push(signatures.drbd);
  if (hasDdf(ends)) found.push(signatures.ddf);
  if (hasImsm(ends)) found.push(signatures.imsm);
  if (hasSeveralDevices(ends)) found.push(signatures.btrfs);
  return found;
}

/** `length` bytes at an offset of the region; empty if they were not read. */
function bytesAt({ sizeBytes, head, tail }: Ends, offset: number, length: number): Buffer {
  if (offset < 0 || offset + length > sizeBytes) return Buffer.alloc(0);
  if (offset + length <= head.length) return head.subarray(offset, offset + length);
  const start = offset - (sizeBytes - tail.length);
  return start < 0 ? Buffer.alloc(0) : tail.subarray(start, start + length);
}

const raidMagic = 0xa92b4efc;

/**
 * Versions 1.x of the superblock name their own place; version 0.90 has the byte order of its
 * machine. Source: the kernel's include/uapi/linux/raid/md_p.h.
 */
function hasRaid(ends: Ends): boolean {
  const { sizeBytes } = ends;
  const oldPlace = Math.floor(sizeBytes / 0x10000) * 0x10000 - 0x10000;
  const old = bytesAt(ends, oldPlace, 8);
  const isOld =
    old.length === 8 &&
    ((old.readUInt32LE(0) === raidMagic && old.readUInt32LE(4) === 0) ||
      (old.readUInt32BE(0) === raidMagic && old.readUInt32BE(4) === 0));
  const places = [0, 4096, Math.floor((sizeBytes / 512 - 16) / 8) * 8 * 512];
  return (
    isOld ||
    places.some((place) => {
      const block = bytesAt(ends, place, 256);
      if (block.length < 256 || block.readUInt32LE(0) !== raidMagic || block.readUInt32LE(4) !== 1) return false;
      return block.readBigUInt64LE(144) * 512n === BigInt(place);
    })
  );
}

/**
 * Four labels of 256 KiB, two at each end; the second half of each has uberblocks. Source: OpenZFS,
 * include/sys/vdev_impl.h and uberblock_impl.h.
 */
function hasZfs(ends: Ends): boolean {
  const label = 256 * 1024;
  const end = Math.floor(ends.sizeBytes / label) * label;
  const magic = 0x00bab10cn;
  return [0, label, end - 2 * label, end - label].some((start) => {
    const blocks = bytesAt(ends, start + label / 2, label / 2);
    for (let offset = 0; offset + 8 <= blocks.length; offset += 1024) {
      if (blocks.readBigUInt64LE(offset) === magic || blocks.readBigUInt64BE(offset) === magic) return true;
    }
    return false;
  });
}

/** Internal metadata, in the last 4 KiB. Source: libblkid/src/superblocks/drbd.c. */
function hasDrbd(ends: Ends): boolean {
  const block = bytesAt(ends, ends.sizeBytes - 4096, 4096);
  if (block.length === 0) return false;
  const magic = block.readUInt32BE(60);
  return magic >= 0x8374026b && magic <= 0x8374026d;
}

/** Source: SNIA, Common RAID Disk Data Format 2.0, section 4.2.1: the anchor is the last block. */
function hasDdf(ends: Ends): boolean {
  return [1, 257].some((sectors) => {
    const block = bytesAt(ends, ends.sizeBytes - sectors * 512, 512);
    return block.length > 0 && (block.readUInt32BE(0) === 0xde11de11 || block.readUInt32LE(0) === 0xde11de11);
  });
}

/** In the last sector but one. Source: mdadm, super-intel.c. */
function hasImsm(ends: Ends): boolean {
  const magic = 'Intel Raid ISM Cfg Sig. ';
  return [512, 4096].some(
    (sector) => bytesAt(ends, ends.sizeBytes - 2 * sector, magic.length).toString('latin1') === magic,
  );
}

/** Source: the kernel's include/uapi/linux/btrfs_tree.h, `struct btrfs_super_block`. */
function hasSeveralDevices(ends: Ends): boolean {
  const block = bytesAt(ends, 0x10000, 4096);
  if (block.length === 0 || block.toString('latin1', 64, 72) !== '_BHRfS_M') return false;
  return block.readBigUInt64LE(136) > 1n;
}

async function readAt(device: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await device.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}
