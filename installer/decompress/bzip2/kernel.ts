import { bufferBytes } from '../threads/messages.ts';

/** Most bytes a block holds before its runs are expanded: level 9 (900,000). */
export const blockCapacity = 900_000;
/**
 * Most symbols in a Huffman group, and most groups that are used (further selectors are read over).
 */
export const groupSymbols = 50;
export const maxSelectors = 18_002;
export const maxCodeLength = 20;

/** Maximum size of a piece of expanded bytes: it fits a buffer. */
export const outputBytes = bufferBytes;
/**
 * A run of zeroes of at least this length at the beginning of a piece of output is passed as a
 * length.
 */
export const zeroRunBytes = 64 * 1024;

/** Results of `Kernel.decode`. */
export const decodeStatus = {
  ok: 0,
  /** The input ends inside the block. */
  cut: 1,
  noSymbols: 2,
  badGroupCount: 3,
  badSelector: 4,
  badCodeLength: 5,
  badCode: 6,
  tooLong: 7,
  badOrigin: 8,
} as const;

/** Results of `Kernel.expand` besides lengths. */
export const expanded = { blockEnd: 0, unfinishedRun: -0x80000000 } as const;

/**
 * Decodes several bzip2 blocks at a time: following the permutation of a block waits for memory at
 * every byte, so several permutations in one loop cost hardly more than one. A lane is the memory
 * of one block. Positions are bits of the input.
 */
export interface Kernel {
  readonly lanes: number;
  /** Write compressed bytes here, then `load` them; their content is undefined afterwards. */
  readonly input: Uint8Array;
  /** The bytes that `expand` produced. */
  readonly output: Uint8Array;
  load(lengthBytes: number): void;
  /** 24 bits (fewer at the input's end, filled up with zeroes). */
  read24(bit: number): number;
  /** Whether two stretches of the input are equal bit for bit. */
  same(bit: number, otherBit: number, bits: number): boolean;
  /**
   * Decodes the block whose magic is at `bit` into a lane, up to the permutation; returns a
   * `decodeStatus`.
   */
  decode(lane: number, bit: number): number;
  endBit(lane: number): number;
  storedCrc(lane: number): number;
  /** The block's length before its runs are expanded. */
  blockLength(lane: number): number;
  /** Follows the permutations of the first `count` lanes. */
  invert(count: number): void;
  /** Starts (again) with the block's first byte. */
  rewind(lane: number): void;
  /**
   * Expands runs: returns the number of bytes left in `output`; or, negative, the length of a run
   * of zeroes; or `expanded.blockEnd`, or `expanded.unfinishedRun` when the block ends where the
   * length of a run must be.
   */
  expand(lane: number): number;
  /** CRC-32 (as bzip2 calculates it) of what was expanded since `rewind`, unsigned. */
  crc(lane: number): number;
}
