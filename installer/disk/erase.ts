import type { Member } from './members.ts';

/** A range of a disk in bytes; `end` is exclusive. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

const mebibyte = 1024 * 1024;
const gibibyte = 1024 * mebibyte;
/** The farthest from the start is the second header of LUKS2, at 4 MiB. */
const headBytes = 8 * mebibyte;
/** The farthest from the end is that of bcachefs, 1 MiB before it. */
const tailBytes = 2 * mebibyte;
const copyBytes = 64 * 1024;

/**
 * Copies of a signature elsewhere, from the start of what it is on. Source: the kernel's
 * fs/btrfs/disk-io.h, `btrfs_sb_offset()`; Ceph's src/os/bluestore/BlueStore.cc,
 * `bdev_label_positions`.
 */
const copies: Readonly<Record<string, readonly number[]>> = {
  btrfs: [64 * mebibyte, 256 * gibibyte],
  ceph_bluestore: [gibibyte, 10 * gibibyte, 100 * gibibyte, 1000 * gibibyte],
};

/**
 * Where zeroes leave nothing of these members by which they are found: both ends of what each is
 * on, and the places of copies.
 * @param kept is left as it is, whatever lies in it
 * @returns ranges in ascending order that neither touch each other nor `kept`
 */
export function eraseRanges(
  members: readonly Pick<Member, 'signature' | 'offsetBytes' | 'sizeBytes'>[],
  kept: readonly ByteRange[],
): ByteRange[] {
  const wanted = members.flatMap(({ signature, offsetBytes, sizeBytes }) => {
    const end = offsetBytes + sizeBytes;
    const parts = [
      { start: offsetBytes, end: offsetBytes + headBytes },
      { start: end - tailBytes, end },
      ...(copies[signature] ?? []).map((at) => ({ start: offsetBytes + at, end: offsetBytes + at + copyBytes })),
    ];
    return parts.map((part) => ({ start: Math.max(part.start, offsetBytes), end: Math.min(part.end, end) }));
  });
  return kept.reduce<ByteRange[]>(
    (ranges, hole) => ranges.flatMap((range) => without(range, hole)),
    merge(wanted.filter(({ start, end }) => start < end)),
  );
}

function merge(ranges: readonly ByteRange[]): ByteRange[] {
  const merged: ByteRange[] = [];
  for (const range of ranges.toSorted((a, b) => a.start - b.start)) {
    const last = merged.at(-1);
    if (last === undefined || range.start > last.end) merged.push(range);
    else merged[merged.length - 1] = { start: last.start, end: Math.max(last.end, range.end) };
  }
  return merged;
}

function without({ start, end }: ByteRange, hole: ByteRange): ByteRange[] {
  const parts = [
    { start, end: Math.min(end, hole.start) },
    { start: Math.max(start, hole.end), end },
  ];
  return parts.filter((part) => part.start < part.end);
}
