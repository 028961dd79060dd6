// Memory layout. Fixed tables come first; `initialise` lays out the rest behind them.

/** Maximum bytes of a block before its runs are expanded. */
export const blockCapacity: u32 = 900000;
export const outputBytes: u32 = 1 << 20;
/**
 * Vectors are read and written up to 64 bytes beyond the end of their array, groups of symbols up
 * to 128 bytes.
 */
const slack: u32 = 256;

/** Rows for which the first byte of one is stored: 2^7. */
export const firstShift: u32 = 7;

/**
 * One lane: its permutation (four bytes for each of the block's), the block, first bytes of rows,
 * the first row of each byte and, after the last one, of none.
 */
const permutationBytes: u32 = blockCapacity * 4;
const blockBytes: u32 = (blockCapacity + slack + 15) & ~15;
const firstsBytes: u32 = ((blockCapacity >>> firstShift) + 16) & ~15;
const startsBytes: u32 = (257 * 4 + 15) & ~15;
export const laneBytes: u32 = permutationBytes + blockBytes + firstsBytes + startsBytes;
/** From the permutation on. */
export const bytesOffset: u32 = permutationBytes;
export const firstsOffset: u32 = permutationBytes + blockBytes;
export const startsOffset: u32 = firstsOffset + firstsBytes;

@unmanaged
export class Lane {
  /** Lanes follow each other in steps of `laneBytes`. */
  permutation: usize;
  bytes: usize;
  length: u32;
  origin: u32;
  /** The row two bytes after the origin. */
  second: u32;
  randomised: u32;
  storedCrc: u32;
  endBit: u32;
  position: u32;
  register: u32;
  row: u32;
  otherRow: u32;
}

export let input: usize = 0;
export let inputCapacity: u32 = 0;
export let output: usize = 0;
/** The last column of the block being decoded. */
export let column: usize = 0;
/** While a permutation is made: the row that each row follows; the permutation two bytes on. */
export let rows: usize = 0;
export let twice: usize = 0;
let lanes: usize = 0;

export function initialise(laneCount: u32, inputBytes: u32): void {
  let at: usize = (__heap_base + 4095) & ~4095;
  inputCapacity = inputBytes;
  input = at;
  at += (inputBytes + slack + 15) & ~15;
  output = at;
  at += outputBytes + slack;
  column = at;
  at += blockBytes;
  rows = at;
  at += permutationBytes;
  twice = at;
  at += permutationBytes;
  lanes = at;
  at += (laneCount * offsetof<Lane>() + 15) & ~15;
  const first = at;
  at += laneCount * laneBytes;
  const pages = <i32>((at + 0xffff) >> 16);
  if (pages > memory.size()) memory.grow(pages - memory.size());
  for (let i: u32 = 0; i < laneCount; i++) {
    const it = lane(i);
    it.permutation = first + i * laneBytes;
    it.bytes = it.permutation + bytesOffset;
  }
}

@inline
export function lane(index: u32): Lane {
  return changetype<Lane>(lanes + index * offsetof<Lane>());
}
