import type { Filesystem } from './mount.ts';

/** As much of the start of a partition as `filesystemOf` needs. */
export const startBytes = 68 * 1024;

/** A file system, by its superblock. */
interface FoundFilesystem {
  readonly kind: Filesystem;
  /**
   * No more than this can be added: what no file and no metadata occupies. Undefined if the
   * superblock does not know.
   */
  readonly freeBytes: number | undefined;
}

/**
 * The file system at the start of a partition. Source: the kernel's
 * include/uapi/linux/btrfs_tree.h, `struct btrfs_super_block`, and
 * Documentation/filesystems/ext4/super.rst.
 * @param bytes the first `startBytes`
 * @returns `undefined`: neither btrfs nor ext4
 */
export function filesystemOf(bytes: Uint8Array): FoundFilesystem | undefined {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.length >= 0x10080 && view.toString('latin1', 0x10040, 0x10048) === '_BHRfS_M') {
    const [total, used] = [view.readBigUInt64LE(0x10070), view.readBigUInt64LE(0x10078)];
    return { kind: 'btrfs', freeBytes: Number(total > used ? total - used : 0n) };
  }
  if (view.length < 2048 || view.readUInt16LE(1024 + 0x38) !== 0xef53) return undefined;
  return { kind: 'ext4', freeBytes: freeOfExt4(view.subarray(1024, 2048)) };
}

const is64Bit = 0x80;
const needsRecovery = 0x4;
const bigAllocation = 0x200;
/** Blocks of 64 KiB: the kernel mounts none with larger ones. */
const maxBlockShift = 6;

function freeOfExt4(block: Buffer): number | undefined {
  const [incompatible, readOnlyCompatible] = [block.readUInt32LE(0x60), block.readUInt32LE(0x64)];
  // The count is as of the last unmount; with large clusters it counts these.
  const isClean = (block.readUInt16LE(0x3a) & 1) !== 0 && (incompatible & needsRecovery) === 0;
  const blockShift = block.readUInt32LE(0x18);
  if (!isClean || blockShift > maxBlockShift || (readOnlyCompatible & bigAllocation) !== 0) return undefined;
  const high = (incompatible & is64Bit) === 0 ? 0 : block.readUInt32LE(0x158);
  return (high * 2 ** 32 + block.readUInt32LE(0xc)) * 2 ** (10 + blockShift);
}
