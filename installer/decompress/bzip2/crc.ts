/**
 * CRC-32 as bzip2 uses it: polynomial 0x04c11db7, most significant bit first, start and final
 * inversion. Several bytes a step through tables that hold the effect of a byte followed by k zero
 * bytes.
 */
const polynomial = 0x04c11db7;

/**
 * tables[k * 256 + byte]: effect of a byte on the register after k further zero bytes, k from 0 to
 * 7.
 */
const tables = new Uint32Array(8 * 256);
for (let byte = 0; byte < 256; byte++) {
  let register = byte << 24;
  for (let bit = 0; bit < 8; bit++) register = (register << 1) ^ (register < 0 ? polynomial : 0);
  tables[byte] = register;
}
for (let i = 256; i < tables.length; i++) {
  const before = tables[i - 256] ?? 0;
  tables[i] = (before << 8) ^ (tables[before >>> 24] ?? 0);
}

/**
 * doubling[k * 1024 + position * 256 + byte]: effect of 2^k zero bytes on one byte of the register;
 * 46 MB, the longest run, needs 26.
 */
const doublings = 26;
const doubling = new Uint32Array(doublings * 1024);
for (let position = 0; position < 4; position++) {
  for (let byte = 0; byte < 256; byte++) {
    const register = byte << (8 * position);
    doubling[position * 256 + byte] = (register << 8) ^ (tables[register >>> 24] ?? 0);
  }
}
for (let i = 1024; i < doubling.length; i++) doubling[i] = advance((i >>> 10) - 1, doubling[i - 1024] ?? 0);

function advance(k: number, register: number): number {
  const at = k * 1024;
  return (
    (doubling[at + (register & 255)] ?? 0) ^
    (doubling[at + 256 + ((register >>> 8) & 255)] ?? 0) ^
    (doubling[at + 512 + ((register >>> 16) & 255)] ?? 0) ^
    (doubling[at + 768 + (register >>> 24)] ?? 0)
  );
}

/** The register after `bytes[0..length)`. */
export function addBytes(register: number, bytes: Uint8Array, length: number): number {
  const t = tables;
  let crc = register;
  let i = 0;
  for (; i + 8 <= length; i += 8) {
    const a = crc ^ (((bytes[i] as number) << 24) | ((bytes[i + 1] as number) << 16) | ((bytes[i + 2] as number) << 8));
    crc =
      (t[1792 + (a >>> 24)] as number) ^
      (t[1536 + ((a >>> 16) & 255)] as number) ^
      (t[1280 + ((a >>> 8) & 255)] as number) ^
      (t[1024 + ((a & 255) ^ (bytes[i + 3] as number))] as number) ^
      (t[768 + (bytes[i + 4] as number)] as number) ^
      (t[512 + (bytes[i + 5] as number)] as number) ^
      (t[256 + (bytes[i + 6] as number)] as number) ^
      (t[bytes[i + 7] as number] as number);
  }
  for (; i < length; i++) crc = (crc << 8) ^ (t[(crc >>> 24) ^ (bytes[i] as number)] as number);
  return crc;
}

/** The register after as many zero bytes (fewer than 2^26). */
export function addZeroes(register: number, lengthBytes: number): number {
  let crc = register;
  for (let k = 0; lengthBytes >>> k > 0; k++) if ((lengthBytes >>> k) & 1) crc = advance(k, crc);
  return crc;
}
