// The header of a block (RFC 1951, section 3.2.3, 3.2.6, 3.2.7).

import { count, drop, refill, take, bits } from './bits';
import { buildDistances, buildLengths, lengths } from './code';

// As `inflateStatus` in ../kernel.ts.
export const badLengths: u32 = 6;
export const badCode: u32 = 7;
export const noEnd: u32 = 8;

/** The order in which the lengths of the code of the lengths come. */
const order: usize = memory.data<u8>([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]);
const codeLengths: usize = memory.data(19, 16);
const counts: usize = memory.data(8 * 4, 16);
const next: usize = memory.data(8 * 4, 16);
/** symbol << 3 | length, by seven bits. */
const table: usize = memory.data(128, 16);
let hasFixed: bool = false;

export function readFixed(): void {
  if (hasFixed) return;
  memory.fill(lengths, 8, 144);
  memory.fill(lengths + 144, 9, 112);
  memory.fill(lengths + 256, 7, 24);
  memory.fill(lengths + 280, 8, 8);
  memory.fill(lengths + 288, 5, 32);
  buildLengths(288);
  buildDistances(288, 32);
  hasFixed = true;
}

/** @returns 0, or what is wrong */
export function readDynamic(): u32 {
  hasFixed = false;
  refill();
  const literals: u32 = 257 + take(5);
  const distances: u32 = 1 + take(5);
  const amount: u32 = 4 + take(4);
  if (literals > 286 || distances > 30) return badLengths;
  memory.fill(codeLengths, 0, 19);
  for (let i: u32 = 0; i < amount; i++) {
    refill();
    store<u8>(codeLengths + load<u8>(order + i), <u8>take(3));
  }
  if (!buildCodeLengths()) return badLengths;
  const total = literals + distances;
  for (let i: u32 = 0; i < total; ) {
    refill();
    const entry = <u32>load<u8>(table + (<usize>bits & 127));
    drop(entry & 7);
    const symbol = entry >> 3;
    if (symbol < 16) {
      store<u8>(lengths + i++, <u8>symbol);
      continue;
    }
    if (symbol == 16 && i == 0) return badLengths;
    const value: u8 = symbol == 16 ? load<u8>(lengths + i - 1) : 0;
    const repeat: u32 = symbol == 16 ? 3 + take(2) : symbol == 17 ? 3 + take(3) : 11 + take(7);
    if (i + repeat > total) return badLengths;
    memory.fill(lengths + i, value, repeat);
    i += repeat;
  }
  if (!load<u8>(lengths + 256)) return noEnd;
  return buildLengths(literals) && buildDistances(literals, distances) ? 0 : badCode;
}

/** @returns false: the lengths make no complete code */
function buildCodeLengths(): bool {
  memory.fill(counts, 0, 32);
  for (let symbol: u32 = 0; symbol < 19; symbol++) {
    const slot = counts + (<usize>load<u8>(codeLengths + symbol) << 2);
    store<u32>(slot, load<u32>(slot) + 1);
  }
  let left: i32 = 1;
  let code: u32 = 0;
  for (let length: u32 = 1; length < 8; length++) {
    const amount = load<u32>(counts + (length << 2));
    store<u32>(next + (length << 2), code);
    code = (code + amount) << 1;
    left = (left << 1) - <i32>amount;
    if (left < 0) return false;
  }
  if (left) return false;
  for (let symbol: u32 = 0; symbol < 19; symbol++) {
    const length = <u32>load<u8>(codeLengths + symbol);
    if (!length) continue;
    const slot = next + (length << 2);
    const value = load<u32>(slot);
    store<u32>(slot, value + 1);
    let reversed: u32 = 0;
    for (let i: u32 = 0; i < length; i++) reversed |= ((value >> i) & 1) << (length - 1 - i);
    for (let i = reversed; i < 128; i += 1 << length) store<u8>(table + i, <u8>((symbol << 3) | length));
  }
  return true;
}
