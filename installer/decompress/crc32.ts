import { crc32 as crc32Of } from 'node:zlib';

/** The polynomial of CRC-32 (RFC 1952, section 8), reflected. */
const polynomial = 0xedb88320;

/** x to the power of 2^k modulo the polynomial. */
const powers: number[] = [0x40000000];
for (let k = 1; k < 32; k++) powers.push(product(powers[k - 1] ?? 0, powers[k - 1] ?? 0));

/** Of two polynomials modulo that of the CRC; the most significant bit is that of x^0. */
function product(a: number, b: number): number {
  let sum = 0;
  let shifted = b;
  for (let bit = 31; bit >= 0; bit--) {
    if ((a >>> bit) & 1) sum ^= shifted;
    shifted = shifted & 1 ? (shifted >>> 1) ^ polynomial : shifted >>> 1;
  }
  return sum;
}

/** The CRC-32 of what had the CRC `before`, followed by `bytes`. */
export function crc32(bytes: Uint8Array, before: number): number {
  return crc32Of(bytes, before);
}

/**
 * As `crc32`, of zeroes: a product for each bit of their number. As zlib's crc32_combine (crc32.c).
 */
export function crc32OfZeroes(lengthBytes: number, before: number): number {
  let register = ~before;
  // A byte is the power 2^3; the powers repeat after 32.
  let k = 3;
  for (let rest = lengthBytes; rest > 0; rest = Math.floor(rest / 2), k++)
    if (rest % 2 === 1) register = product(powers[k % 32] ?? 0, register);
  return ~register >>> 0;
}
