// The up to six canonical codes of a block. They may be incomplete or oversubscribed; then shorter
// and lower codes win.

export const maxCodeLength: u32 = 20;
export const maxGroups: u32 = 6;
const maxSymbols: u32 = 258;
/** Codes of up to this length are decoded with one look-up. */
export const primaryBits: u32 = 11;

const primaryBytes: u32 = 2 << primaryBits;
const primaries: usize = memory.data(6 * (2 << 11), 64);
/**
 * Per group and length: first code, last code, index of the first code's symbol (three words), then
 * the symbols in order of code.
 */
const lengthsBytes: u32 = 21 * 12;
const detailBytes: u32 = 21 * 12 + 258 * 2;
const details: usize = memory.data(6 * (21 * 12 + 258 * 2), 16);
/** Code lengths, as they are read. */
export const lengths: usize = memory.data(258, 16);
const counts: usize = memory.data(21 * 4, 16);

@inline
export function primary(group: u32): usize {
  return primaries + group * primaryBytes;
}

/**
 * Makes the tables of a group from `lengths`. An entry is symbol << 5 | length, or 0 where the code
 * is longer or unknown.
 */
export function build(group: u32, symbols: u32): void {
  memory.fill(counts, 0, 84);
  for (let symbol: u32 = 0; symbol < symbols; symbol++) {
    const count = counts + (<u32>load<u8>(lengths + symbol) << 2);
    store<u32>(count, load<u32>(count) + 1);
  }
  const table = primary(group);
  memory.fill(table, 0, primaryBytes);
  const detail = details + group * detailBytes;
  let first: u32 = 0;
  let index: u32 = 0;
  for (let length: u32 = 1; length <= maxCodeLength; length++) {
    const count = load<u32>(counts + (length << 2));
    const at = detail + length * 12;
    store<i32>(at, first);
    store<i32>(at, first + count - 1, 4);
    store<u32>(at, index, 8);
    if (count) {
      let code = first;
      for (let symbol: u32 = 0; symbol < symbols; symbol++) {
        if (load<u8>(lengths + symbol) != length) continue;
        store<u16>(detail + lengthsBytes + (index++ << 1), <u16>symbol);
        if (length <= primaryBits && code < 1 << length) {
          const entry = <u16>((symbol << 5) | length);
          const shift = primaryBits - length;
          for (let i = code << shift; i < (code + 1) << shift; i++) store<u16>(table + (i << 1), entry);
        }
        code++;
      }
    }
    first = (first + count) << 1;
  }
}

/** The entry for the code at the top of `window`, found length by length; 0 when there is none. */
export function search(group: u32, window: u64): u32 {
  const detail = details + group * detailBytes;
  for (let length: u32 = 1; length <= maxCodeLength; length++) {
    const at = detail + length * 12;
    const first = load<i32>(at);
    const last = load<i32>(at, 4);
    const code = <i32>(window >>> (64 - length));
    if (last >= first && code <= last) {
      const index = load<u32>(at, 8) + (code - first);
      return ((<u32>load<u16>(detail + lengthsBytes + (index << 1))) << 5) | length;
    }
  }
  return 0;
}
