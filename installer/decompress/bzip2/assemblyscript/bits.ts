// The input as bits, most significant first. `load` turns its 32-bit words around once, so that any
// 32 bits are one load and two shifts.

import { input } from './memory';

export let inputBits: u32 = 0;

export function load(lengthBytes: u32): void {
  inputBits = lengthBytes * 8;
  memory.fill(input + lengthBytes, 0, 256);
  for (let at = input, end = input + lengthBytes + 256 - 16; at <= end; at += 16) {
    const v = v128.load(at);
    v128.store(at, i8x16.shuffle(v, v, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
  }
}

/** The bits from `bit` on at the top, at least 33 of them. */
@inline
export function window(bit: u32): u64 {
  return rotl(load64(bit), 32) << (bit & 31);
}

@inline
function load64(bit: u32): u64 {
  return loadWord(input + ((bit >>> 5) << 2));
}

@inline
function loadWord(at: usize): u64 {
  return i64.load(at);
}

/** `count` bits, at most 32; zeroes beyond the input. */
export function read(bit: u32, count: u32): u32 {
  if (bit >= inputBits) return 0;
  return <u32>(window(bit) >>> (64 - count));
}

/** Whether two stretches of the input are equal. */
export function same(bit: u32, otherBit: u32, bits: u32): bool {
  if (max(bit, otherBit) + bits > inputBits) return false;
  let done: u32 = 0;
  for (; done + 32 <= bits; done += 32) if (read(bit + done, 32) !== read(otherBit + done, 32)) return false;
  return bits === done || read(bit + done, bits - done) === read(otherBit + done, bits - done);
}
