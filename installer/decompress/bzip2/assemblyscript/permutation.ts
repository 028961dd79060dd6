// The permutation of a block leads from each row of the sorted rotations to the next one. It is
// stored four times over: an entry leads four bytes on. So a block has two chains that do not wait
// for each other, one with the bytes 0, 1, 4, 5 and so on and one with 2, 3, 6, 7. Each step waits
// for memory, and the waits of both chains of four blocks overlap.

import { bytesOffset, column, firstShift, firstsOffset, Lane, lane, laneBytes, rows, startsOffset, twice } from './memory';

/**
 * Sorts the last column of the block's rotations, stably: where each of its bytes is in the first
 * column is the row that the byte's own row follows.
 * @param counts how often each byte occurs; overwritten
 */
export function permute(lane: Lane, counts: usize): void {
  const permutation = lane.permutation;
  const starts = permutation + startsOffset;
  let sum: u32 = 0;
  for (let at: usize = 0; at < 1024; at += 4) {
    const count = load<u32>(counts + at);
    store<u32>(counts + at, sum);
    store<u32>(starts + at, sum);
    sum += count;
  }
  store<u32>(starts, -1, 1024);
  const length = lane.length;
  for (let i: u32 = 0; i < length; i++) {
    const next = counts + (<usize>load<u8>(column + i) << 2);
    const row = load<u32>(next);
    store<u32>(next, row + 1);
    store<u32>(rows + (i << 2), row);
  }
  // Two rows on, and the first byte of the row between.
  for (let i: u32 = 0; i < length; i++) {
    const row = load<u32>(rows + (<usize>load<u32>(rows + (i << 2)) << 2));
    store<u32>(twice + (row << 2), (i << 8) | <u32>load<u8>(column + i));
  }
  for (let row: u32 = 0; row < length; row++) {
    const entry = load<u32>(twice + (row << 2));
    const rowBytes = load<u32>(twice + ((entry >>> 8) << 2)) & 0xffffff00;
    store<u32>(permutation + (row << 2), rowBytes | (entry & 0xff));
  }
  lane.second = load<u32>(twice + (lane.origin << 2)) >>> 8;
  listFirstBytes(permutation, length);
}

/** The first byte of every 128th row; that of the others is it or one after it. */
function listFirstBytes(permutation: usize, length: u32): void {
  let byte: u32 = 0;
  for (let row: u32 = 0; row < length; row += 1 << firstShift) {
    while (load<u32>(permutation + (byte << 2), startsOffset + 4) <= row) byte++;
    store<u8>(permutation + (row >>> firstShift), <u8>byte, firstsOffset);
  }
}

export function invert(count: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const it = lane(i);
    it.position = 0;
    it.row = it.origin;
    it.otherRow = it.second;
  }
  for (let i: u32 = 0; i < count; ) {
    const left = count - i;
    if (left >= 4) {
      follow4(lane(i), lane(i + 1), lane(i + 2), lane(i + 3));
      i += 4;
    } else if (left >= 2) {
      follow2(lane(i), lane(i + 1));
      i += 2;
    } else {
      follow(lane(i));
      i++;
    }
  }
}

@inline
function left(it: Lane): u32 {
  return it.length - it.position;
}

/**
 * Writes two bytes: the first one of a row, and that of the row after it.
 * @param at what they are written to, less `bytesOffset`
 * @returns the row four bytes on
 */
@inline
function step(permutation: usize, row: u32, at: usize): u32 {
  const entry = load<u32>(permutation + (row << 2));
  let byte = <u32>load<u8>(permutation + (row >>> firstShift), firstsOffset);
  while (load<u32>(permutation + (byte << 2), startsOffset + 4) <= row) byte++;
  store<u16>(at, <u16>(byte | (entry << 8)), bytesOffset);
  return entry >>> 8;
}

/** To the end, and up to three bytes beyond it. */
function follow(a: Lane): void {
  const permutation = a.permutation;
  let row = a.row;
  let other = a.otherRow;
  for (let at = permutation + a.position, end = permutation + a.length; at < end; at += 4) {
    row = step(permutation, row, at);
    other = step(permutation, other, at + 2);
  }
}

/** @param b the lane after `a` */
function follow2(a: Lane, b: Lane): void {
  const steps = min(left(a), left(b)) & ~3;
  const permutation = a.permutation;
  let rowA = a.row;
  let rowB = b.row;
  let otherA = a.otherRow;
  let otherB = b.otherRow;
  for (let at = permutation + a.position, end = at + steps; at < end; at += 4) {
    rowA = step(permutation, rowA, at);
    otherA = step(permutation, otherA, at + 2);
    rowB = step(permutation + laneBytes, rowB, at + laneBytes);
    otherB = step(permutation + laneBytes, otherB, at + laneBytes + 2);
  }
  proceed(a, rowA, otherA, steps);
  proceed(b, rowB, otherB, steps);
  follow(a);
  follow(b);
}

/** Of four lanes in a row. */
function follow4(a: Lane, b: Lane, c: Lane, d: Lane): void {
  const steps = min(min(left(a), left(b)), min(left(c), left(d))) & ~3;
  const permutation = a.permutation;
  let rowA = a.row;
  let rowB = b.row;
  let rowC = c.row;
  let rowD = d.row;
  let otherA = a.otherRow;
  let otherB = b.otherRow;
  let otherC = c.otherRow;
  let otherD = d.otherRow;
  for (let at = permutation, end = at + steps; at < end; at += 4) {
    rowA = step(permutation, rowA, at);
    otherA = step(permutation, otherA, at + 2);
    rowB = step(permutation + laneBytes, rowB, at + laneBytes);
    otherB = step(permutation + laneBytes, otherB, at + laneBytes + 2);
    rowC = step(permutation + 2 * laneBytes, rowC, at + 2 * laneBytes);
    otherC = step(permutation + 2 * laneBytes, otherC, at + 2 * laneBytes + 2);
    rowD = step(permutation + 3 * laneBytes, rowD, at + 3 * laneBytes);
    otherD = step(permutation + 3 * laneBytes, otherD, at + 3 * laneBytes + 2);
  }
  proceed(a, rowA, otherA, steps);
  proceed(b, rowB, otherB, steps);
  proceed(c, rowC, otherC, steps);
  proceed(d, rowD, otherD, steps);
  follow2(a, b);
  follow2(c, d);
}

@inline
function proceed(it: Lane, row: u32, otherRow: u32, steps: u32): void {
  it.row = row;
  it.otherRow = otherRow;
  it.position += steps;
}
