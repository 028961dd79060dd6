// The input as bits, least significant first (RFC 1951, section 3.1.1).

import { input, slack } from './memory';

export let at: usize = 0;
export let end: usize = 0;
/** No more follows the input: what is read beyond its end is zeroes. */
export let last: bool = false;
/** Bits taken from the input. Those above `count` are the next bits of the input, or zeroes. */
export let bits: u64 = 0;
export let count: u32 = 0;

/** Bits of the longest symbol: a length and a distance, with their extra bits. */
const symbolBits: u32 = 48;

export function open(position: u32, length: u32, isLast: bool): void {
  at = input + position;
  end = input + length;
  last = isLast;
  if (isLast) memory.fill(end, 0, slack);
}

/** Forgets what was taken of a byte. */
export function align(): void {
  bits = 0;
  count = 0;
}

/** Gives whole bytes back. */
export function close(): void {
  at -= count >> 3;
  count &= 7;
  bits &= (1 << count) - 1;
}

/** Whether more was taken than there is. */
@inline
export function isOverrun(): bool {
  return at > end && ((at - end) << 3) > count;
}

/** For loops that have the state in variables. */
@inline
export function restore(newAt: usize, newBits: u64, newCount: u32): void {
  at = newAt;
  bits = newBits;
  count = newCount;
}

/** @returns false: there may be fewer bits than a symbol has */
@inline
export function prepare(): bool {
  if (at + 8 <= end || last) {
    refill();
    return true;
  }
  if ((<u32>(end - at) << 3) + count < symbolBits) return false;
  while (at < end && count <= 56) {
    bits |= (<u64>load<u8>(at++)) << count;
    count += 8;
  }
  return true;
}

/** At least 56 bits. */
@inline
export function refill(): void {
  bits |= load<u64>(at) << count;
  at += (63 - count) >> 3;
  count |= 56;
}

/** At most 32; after `refill` or `prepare`. */
@inline
export function take(length: u32): u32 {
  const value = <u32>(bits & ((<u64>1 << length) - 1));
  drop(length);
  return value;
}

@inline
export function drop(length: u32): void {
  bits >>= length;
  count -= length;
}

/** Takes whole bytes from the input: only when no bits are left over. */
export function skip(length: u32): void {
  at += length;
}
