/** The first 48 bits of a block and of the end of a stream, as two times 24 bits. */
export const blockMagic = [0x314159, 0x265359] as const;
export const endMagic = [0x177245, 0x385090] as const;
export const magicBits = 48;

/**
 * For each pair of bytes, whether it can be the second and third byte touched by one of the magics
 * at some bit offset.
 */
const candidate = new Uint8Array(65536);
for (const [high, low] of [blockMagic, endMagic]) {
  const magic = (BigInt(high) << 24n) | BigInt(low);
  for (let shift = 0n; shift < 8n; shift++) candidate[Number((magic >> (24n + shift)) & 0xffffn)] = 1;
}

/**
 * The first bit in [from, until) at which a block or the end of a stream may begin, or -1. Only the
 * 48 bits mark it, and compressed data may contain them by chance.
 */
export function findMagic(bytes: Uint8Array, length: number, from: number, until: number): number {
  const lastByte = Math.min(Math.ceil(until / 8), length - 5);
  // A magic that starts at bit b of byte i fills byte i + 1 and, together with it, 16 bits that
  // exclude most positions.
  for (let i = from >>> 3; i < lastByte; i++) {
    if (candidate[((bytes[i + 1] as number) << 8) | (bytes[i + 2] as number)] === 0) continue;
    for (let bit = i * 8; bit < i * 8 + 8; bit++) {
      if (bit >= from && bit < until && isMagic(bytes, length, bit)) return bit;
    }
  }
  return -1;
}

function isMagic(bytes: Uint8Array, length: number, bit: number): boolean {
  if (bit + magicBits > length * 8) return false;
  const high = bits24(bytes, bit);
  const low = bits24(bytes, bit + 24);
  return (high === blockMagic[0] && low === blockMagic[1]) || (high === endMagic[0] && low === endMagic[1]);
}

/** 24 bits at any bit; bytes beyond the end count as zeroes. */
export function bits24(bytes: Uint8Array, bit: number): number {
  const i = bit >>> 3;
  const word = ((bytes[i] ?? 0) << 24) | ((bytes[i + 1] ?? 0) << 16) | ((bytes[i + 2] ?? 0) << 8) | (bytes[i + 3] ?? 0);
  return (word << (bit & 7)) >>> 8;
}
