// CRC-32 of bzip2: polynomial 0x04c11db7, most significant bit first. Same tables as crc.ts of the
// plain decoder.

const polynomial: u32 = 0x04c11db7;
/** Effect of a byte followed by k zero bytes: 16 tables of 256. */
const tables: usize = memory.data(16 * 1024, 16);
/** Effect of 2^k zero bytes on each byte of the register: 26 times four tables of 256. */
const doublings: u32 = 26;
const doubling: usize = memory.data(26 * 4096, 16);

export function initialise(): void {
  for (let byte: u32 = 0; byte < 256; byte++) {
    let register = byte << 24;
    for (let bit = 0; bit < 8; bit++) register = (register << 1) ^ (register >>> 31 ? polynomial : 0);
    store<u32>(tables + (byte << 2), register);
  }
  for (let i: u32 = 256; i < 16 * 256; i++) store<u32>(tables + (i << 2), zero(load<u32>(tables + ((i - 256) << 2))));
  for (let i: u32 = 0; i < 1024; i++) store<u32>(doubling + (i << 2), zero((i & 255) << ((i >>> 8) * 8)));
  for (let i: u32 = 1024; i < doublings * 1024; i++) {
    store<u32>(doubling + (i << 2), advance((i >>> 10) - 1, load<u32>(doubling + ((i - 1024) << 2))));
  }
}

/** The register after a zero byte. */
@inline
function zero(register: u32): u32 {
  return (register << 8) ^ load<u32>(tables + ((register >>> 24) << 2));
}

@inline
function advance(k: u32, register: u32): u32 {
  const at = doubling + (k << 12);
  return (
    load<u32>(at + ((register & 255) << 2)) ^
    load<u32>(at + (((register >>> 8) & 255) << 2), 1024) ^
    load<u32>(at + (((register >>> 16) & 255) << 2), 2048) ^
    load<u32>(at + ((register >>> 24) << 2), 3072)
  );
}

export function addZeroes(register: u32, lengthBytes: u32): u32 {
  for (let k: u32 = 0; lengthBytes >>> k; k++) if ((lengthBytes >>> k) & 1) register = advance(k, register);
  return register;
}

@inline
function effect(k: u32, byte: u64): u32 {
  return load<u32>(tables + (<usize>(byte & 255) << 2) + (k << 10));
}

export function addBytes(register: u32, at: usize, lengthBytes: u32): u32 {
  const end = at + lengthBytes;
  for (; at + 16 <= end; at += 16) {
    const a = load<u64>(at) ^ bswap<u32>(register);
    const b = load<u64>(at, 8);
    register =
      effect(15, a) ^
      effect(14, a >>> 8) ^
      effect(13, a >>> 16) ^
      effect(12, a >>> 24) ^
      effect(11, a >>> 32) ^
      effect(10, a >>> 40) ^
      effect(9, a >>> 48) ^
      effect(8, a >>> 56) ^
      effect(7, b) ^
      effect(6, b >>> 8) ^
      effect(5, b >>> 16) ^
      effect(4, b >>> 24) ^
      effect(3, b >>> 32) ^
      effect(2, b >>> 40) ^
      effect(1, b >>> 48) ^
      effect(0, b >>> 56);
  }
  for (; at < end; at++) register = (register << 8) ^ load<u32>(tables + (((register >>> 24) ^ load<u8>(at)) << 2));
  return register;
}
