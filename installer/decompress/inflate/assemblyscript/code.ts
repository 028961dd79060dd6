// Tables of Huffman codes (RFC 1951, section 3.2.2).

/**
 * An entry of a table:
 *  - bits 0 to 5: how many bits the code and its extra bits have
 *  - bits 8 to 11: how many bits the code has
 *  - bits 16 to 30: the byte; or the length or the distance without the extra bits; or, of a
 *    pointer, the index of the table of the codes that begin so
 *  - bits 31, 15, 14, 13: literal, exceptional, end of block, invalid
 */
export const literal: u32 = 0x80000000;
export const exceptional: u32 = 0x8000;
export const endOfBlock: u32 = 0x4000;
export const invalid: u32 = 0x2000;

export const lengthBits: u32 = 11;
export const distanceBits: u32 = 8;
const maxBits: u32 = 15;

/** Codes that are longer than the index of a table are in a second table for their first bits. */
export const lengthTable: usize = memory.data(4 * (2048 + 144 * 16), 64);
export const distanceTable: usize = memory.data(4 * (256 + 16 * 128), 64);
/** Code lengths of both alphabets, as they are read. */
export const lengths: usize = memory.data(320, 16);
const counts: usize = memory.data(16 * 4, 16);
const next: usize = memory.data(16 * 4, 16);

/** @returns the entry of a symbol, without the length of its code */
type Meaning = (symbol: u32) => u32;

/** RFC 1951, section 3.2.5: literals, the end of the block, lengths 3 to 258. */
function lengthMeaning(symbol: u32): u32 {
  if (symbol < 256) return literal | (symbol << 16);
  if (symbol == 256) return exceptional | endOfBlock;
  const index = symbol - 257;
  if (index < 8) return (3 + index) << 16;
  if (index == 28) return 258 << 16;
  if (index > 28) return exceptional | invalid;
  const extra = (index >> 2) - 1;
  return ((3 + ((4 + (index & 3)) << extra)) << 16) | extra;
}

/** Distances 1 to 32768. */
function distanceMeaning(symbol: u32): u32 {
  if (symbol < 4) return (1 + symbol) << 16;
  if (symbol > 29) return exceptional | invalid;
  const extra = (symbol >> 1) - 1;
  return ((1 + ((2 + (symbol & 1)) << extra)) << 16) | extra;
}

export function buildLengths(symbols: u32): bool {
  return build(lengthTable, lengthBits, lengths, symbols, lengthMeaning);
}

export function buildDistances(first: u32, symbols: u32): bool {
  return build(distanceTable, distanceBits, lengths + first, symbols, distanceMeaning);
}

/**
 * @returns false: the lengths make no code. As zlib, a code of one symbol of one bit is one, and so
 *   is that of none; the other codes are then invalid.
 */
function build(table: usize, tableBits: u32, from: usize, symbols: u32, meaning: Meaning): bool {
  memory.fill(counts, 0, 64);
  for (let symbol: u32 = 0; symbol < symbols; symbol++) {
    const slot = counts + (<usize>load<u8>(from + symbol) << 2);
    store<u32>(slot, load<u32>(slot) + 1);
  }
  let longest = maxBits;
  while (longest > 0 && !load<u32>(counts + (longest << 2))) longest--;
  let left: i32 = 1;
  let code: u32 = 0;
  for (let length: u32 = 1; length <= maxBits; length++) {
    const amount = load<u32>(counts + (length << 2));
    store<u32>(next + (length << 2), code);
    code = (code + amount) << 1;
    left = (left << 1) - <i32>amount;
    if (left < 0) return false;
  }
  if (left > 0) {
    if (longest > 1) return false;
    for (let i: u32 = 0; i < 1 << tableBits; i++) store<u32>(table + (i << 2), exceptional | invalid | 1);
  }
  const subBits = longest > tableBits ? longest - tableBits : 0;
  if (subBits) for (let i: u32 = 0; i < 1 << tableBits; i++) store<u32>(table + (i << 2), 0);
  let free: u32 = 1 << tableBits;
  for (let symbol: u32 = 0; symbol < symbols; symbol++) {
    const length = <u32>load<u8>(from + symbol);
    if (!length) continue;
    const slot = next + (length << 2);
    const value = load<u32>(slot);
    store<u32>(slot, value + 1);
    const reversed = reverse(value, length);
    const entry = (meaning(symbol) + length) | (length << 8);
    if (length <= tableBits) {
      for (let i = reversed; i < 1 << tableBits; i += 1 << length) store<u32>(table + (i << 2), entry);
      continue;
    }
    const pointer = table + ((reversed & ((1 << tableBits) - 1)) << 2);
    if (!load<u32>(pointer)) {
      store<u32>(pointer, exceptional | (free << 16) | (subBits << 8));
      free += 1 << subBits;
    }
    const sub = table + ((load<u32>(pointer) >> 16) << 2);
    for (let i = reversed >> tableBits; i < 1 << subBits; i += 1 << (length - tableBits)) store<u32>(sub + (i << 2), entry);
  }
  return true;
}

@inline
function reverse(value: u32, length: u32): u32 {
  let reversed: u32 = 0;
  for (let i: u32 = 0; i < length; i++) reversed |= ((value >> i) & 1) << (length - 1 - i);
  return reversed;
}

/** The entry of the code at the bottom of `bits`, whatever its length. */
@inline
export function find(table: usize, tableBits: u32, bits: u64): u32 {
  const entry = load<u32>(table + ((<usize>bits & ((1 << tableBits) - 1)) << 2));
  if ((entry & (exceptional | endOfBlock | invalid)) != exceptional) return entry;
  const index = (entry >> 16) + (<u32>(bits >> tableBits) & ((1 << ((entry >> 8) & 15)) - 1));
  return load<u32>(table + (<usize>index << 2));
}

/** The length or the distance of an entry, with its extra bits. */
@inline
export function valueOf(entry: u32, bits: u64): u32 {
  return ((entry >> 16) & 0x7fff) + (<u32>(bits & ((<u64>1 << (entry & 63)) - 1)) >> ((entry >> 8) & 15));
}
