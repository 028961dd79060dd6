// Following the permutations of several blocks at once: each step waits for memory, and these waits
// overlap.

import { Lane, lane } from './memory';

export function invert(count: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const it = lane(i);
    it.position = 0;
    it.row = it.origin;
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

function follow(a: Lane): void {
  let row = a.row;
  const permutation = a.permutation;
  let at = a.bytes + a.position;
  for (const end = a.bytes + a.length; at < end; at++) {
    const entry = load<u32>(permutation + (row << 2));
    store<u8>(at, <u8>entry);
    row = entry >>> 8;
  }
}

function follow2(a: Lane, b: Lane): void {
  const steps = min(left(a), left(b));
  let rowA = a.row;
  let rowB = b.row;
  const atA = a.bytes + a.position;
  const atB = b.bytes + b.position;
  const permutationA = a.permutation;
  const permutationB = b.permutation;
  for (let i: u32 = 0; i < steps; i++) {
    const entryA = load<u32>(permutationA + (rowA << 2));
    const entryB = load<u32>(permutationB + (rowB << 2));
    store<u8>(atA + i, <u8>entryA);
    store<u8>(atB + i, <u8>entryB);
    rowA = entryA >>> 8;
    rowB = entryB >>> 8;
  }
  proceed(a, rowA, steps);
  proceed(b, rowB, steps);
  follow(a);
  follow(b);
}

function follow4(a: Lane, b: Lane, c: Lane, d: Lane): void {
  const steps = min(min(left(a), left(b)), min(left(c), left(d)));
  let rowA = a.row;
  let rowB = b.row;
  let rowC = c.row;
  let rowD = d.row;
  const atA = a.bytes;
  const atB = b.bytes;
  const atC = c.bytes;
  const atD = d.bytes;
  const permutationA = a.permutation;
  const permutationB = b.permutation;
  const permutationC = c.permutation;
  const permutationD = d.permutation;
  for (let i: u32 = 0; i < steps; i++) {
    const entryA = load<u32>(permutationA + (rowA << 2));
    const entryB = load<u32>(permutationB + (rowB << 2));
    const entryC = load<u32>(permutationC + (rowC << 2));
    const entryD = load<u32>(permutationD + (rowD << 2));
    store<u8>(atA + i, <u8>entryA);
    store<u8>(atB + i, <u8>entryB);
    store<u8>(atC + i, <u8>entryC);
    store<u8>(atD + i, <u8>entryD);
    rowA = entryA >>> 8;
    rowB = entryB >>> 8;
    rowC = entryC >>> 8;
    rowD = entryD >>> 8;
  }
  proceed(a, rowA, steps);
  proceed(b, rowB, steps);
  proceed(c, rowC, steps);
  proceed(d, rowD, steps);
  follow2(a, b);
  follow2(c, d);
}

@inline
function proceed(it: Lane, row: u32, steps: u32): void {
  it.row = row;
  it.position += steps;
}
