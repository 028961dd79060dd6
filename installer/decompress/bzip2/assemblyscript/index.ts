// The decoder of blocks, in AssemblyScript, called by ../wasm-kernel.ts. `Kernel` in ../kernel.ts
// describes the functions.

import * as bitsOf from './bits';
import * as block from './block';
import * as crcOf from './crc';
import * as expansion from './expand';
import * as front from './front';
import * as memoryOf from './memory';
import * as permutation from './permutation';

export function initialise(lanes: u32, inputBytes: u32): void {
  memoryOf.initialise(lanes, inputBytes);
  crcOf.initialise();
  front.initialise();
}

export function input(): usize {
  return memoryOf.input;
}

export function output(): usize {
  return memoryOf.output;
}

export function load(lengthBytes: u32): void {
  bitsOf.load(lengthBytes);
}

export function read24(bit: u32): u32 {
  return bitsOf.read(bit, 24);
}

export function same(bit: u32, otherBit: u32, bits: u32): bool {
  return bitsOf.same(bit, otherBit, bits);
}

export function decode(lane: u32, bit: u32): u32 {
  return block.decode(memoryOf.lane(lane), bit);
}

export function endBit(lane: u32): u32 {
  return memoryOf.lane(lane).endBit;
}

export function storedCrc(lane: u32): u32 {
  return memoryOf.lane(lane).storedCrc;
}

export function blockLength(lane: u32): u32 {
  return memoryOf.lane(lane).length;
}

export function randomised(lane: u32): bool {
  return memoryOf.lane(lane).randomised != 0;
}

/** Address of the bytes of the block; those of a randomised block are not yet restored. */
export function bytes(lane: u32): usize {
  return memoryOf.lane(lane).bytes;
}

export function invert(count: u32): void {
  permutation.invert(count);
}

export function rewind(lane: u32): void {
  const it = memoryOf.lane(lane);
  it.position = 0;
  it.register = -1;
}

export function expand(lane: u32): i32 {
  return expansion.expand(memoryOf.lane(lane));
}

export function crc(lane: u32): u32 {
  return ~memoryOf.lane(lane).register;
}
