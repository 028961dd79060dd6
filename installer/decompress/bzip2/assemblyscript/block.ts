// From the magic of a block to its permutation.

import { inputBits, read, window } from './bits';
import { build, lengths, maxCodeLength, maxGroups, primary, primaryBits, search } from './code';
import { first, moveToFront, reset, set } from './front';
import { blockCapacity, column, Lane } from './memory';
import { permute } from './permutation';

// As `decodeStatus` in ../kernel.ts.
const ok: u32 = 0;
const cut: u32 = 1;
const noSymbols: u32 = 2;
const badGroupCount: u32 = 3;
const badSelector: u32 = 4;
const badCodeLength: u32 = 5;
const badCode: u32 = 6;
const tooLong: u32 = 7;
const badOrigin: u32 = 8;

const groupSymbols: u32 = 50;
const maxSelectors: u32 = 18002;
const selectors: usize = memory.data(18002, 16);
const order: usize = memory.data(8, 8);
/** How often each byte occurs. */
const counts: usize = memory.data(1024, 64);

let bit: u32 = 0;
let usedCount: u32 = 0;
let selectorCount: u32 = 0;

export function decode(lane: Lane, start: u32): u32 {
  bit = start + 48;
  let failure = decodeHeader(lane);
  if (!failure) failure = decodeTables();
  if (!failure) failure = decodeSymbols(lane);
  if (bit > inputBits) return cut;
  if (failure) return failure;
  if (lane.origin >= lane.length) return badOrigin;
  lane.endBit = bit;
  permute(lane, counts);
  return ok;
}

@inline
function bits(count: u32): u32 {
  const value = read(bit, count);
  bit += count;
  return value;
}

function decodeHeader(lane: Lane): u32 {
  lane.storedCrc = bits(32);
  lane.randomised = bits(1);
  lane.origin = bits(24);
  const ranges = bits(16);
  usedCount = 0;
  reset();
  for (let range: u32 = 0; range < 16; range++) {
    if (!((ranges >>> (15 - range)) & 1)) continue;
    const bytes = bits(16);
    for (let i: u32 = 0; i < 16; i++) {
      if ((bytes >>> (15 - i)) & 1) set(usedCount++, range * 16 + i);
    }
  }
  return usedCount ? ok : noSymbols;
}

function decodeTables(): u32 {
  const groups = bits(3);
  const count = bits(15);
  if (groups < 2 || groups > maxGroups || count < 1) return badGroupCount;
  for (let i: u32 = 0; i < groups; i++) store<u8>(order + i, i);
  for (let i: u32 = 0; i < count; i++) {
    let steps: u32 = 0;
    while (bits(1)) if (++steps >= groups) return badSelector;
    const chosen = load<u8>(order + steps);
    for (let at = steps; at > 0; at--) store<u8>(order + at, load<u8>(order + at - 1));
    store<u8>(order, chosen);
    if (i < maxSelectors) store<u8>(selectors + i, chosen);
  }
  selectorCount = min(count, maxSelectors);
  for (let group: u32 = 0; group < groups; group++) {
    let length = bits(5);
    for (let symbol: u32 = 0; symbol < usedCount + 2; symbol++) {
      while (true) {
        if (length < 1 || length > maxCodeLength) return badCodeLength;
        if (bit > inputBits) return cut;
        if (!bits(1)) break;
        length += bits(1) ? -1 : 1;
      }
      store<u8>(lengths + symbol, <u8>length);
    }
    build(group, usedCount + 2);
  }
  return ok;
}

function decodeSymbols(lane: Lane): u32 {
  const endSymbol = usedCount + 1;
  memory.fill(counts, 0, 1024);
  let at: u32 = bit;
  let length: u32 = 0;
  let run: u32 = 0;
  let runUnit: u32 = 1;
  for (let i: u32 = 0; i < selectorCount; i++) {
    const group = <u32>load<u8>(selectors + i);
    const table = primary(group);
    if (at > inputBits) {
      bit = at;
      return cut;
    }
    for (let left = groupSymbols; left > 0; left--) {
      const ahead = window(at);
      let entry = <u32>load<u16>(table + (<usize>(ahead >>> (64 - primaryBits)) << 1));
      if (!entry) {
        entry = search(group, ahead);
        if (!entry) {
          bit = at + maxCodeLength;
          return badCode;
        }
      }
      at += entry & 31;
      const symbol = entry >>> 5;
      if (symbol <= 1) {
        if (runUnit > 1 << 20) {
          bit = at;
          return tooLong;
        }
        run += runUnit << symbol;
        runUnit <<= 1;
        continue;
      }
      if (run) {
        if (length + run > blockCapacity) {
          bit = at;
          return tooLong;
        }
        repeat(length, run);
        length += run;
        run = 0;
        runUnit = 1;
      }
      if (symbol == endSymbol) {
        bit = at;
        lane.length = length;
        return ok;
      }
      if (length >= blockCapacity) {
        bit = at;
        return tooLong;
      }
      const byte = moveToFront(symbol - 1);
      const count = counts + (byte << 2);
      store<u32>(count, load<u32>(count) + 1);
      store<u8>(column + length, <u8>byte);
      length++;
    }
  }
  bit = at;
  return badCode;
}

/** Appends the front byte `run` times to the column. */
@inline
function repeat(length: u32, run: u32): void {
  const byte = first();
  const count = counts + (byte << 2);
  store<u32>(count, load<u32>(count) + run);
  const bytes = i8x16.splat(<i8>byte);
  for (let at = column + length, end = at + run; at < end; at += 16) v128.store(at, bytes);
}
