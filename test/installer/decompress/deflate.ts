import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import { createInflateKernel, inflateStatus } from '../../../installer/decompress/inflate/kernel.ts';
import type { Random } from './random.ts';

// Makes deflate streams, ordinary and odd ones, good and damaged, and decodes them by our kernel
// and by zlib.

/** What a stream decodes to, and how many of its bytes were used; undefined: it is refused. */
export type Decoded = { readonly bytes: Buffer; readonly usedBytes: number } | undefined;

export function decodedByZlib(stream: Buffer): Decoded {
  try {
    // With `info` Node returns more than its types have.
    const { buffer, engine } = inflateRawSync(stream, { info: true }) as unknown as {
      buffer: Buffer;
      engine: { bytesWritten: number };
    };
    return { bytes: buffer, usedBytes: engine.bytesWritten };
  } catch {
    return undefined;
  }
}

const kernel = createInflateKernel();

/** @param pieceBytes length of the next piece of the input that the kernel gets */
export function decodedByKernel(stream: Buffer, pieceBytes: () => number): Decoded {
  const input = kernel.memory.subarray(kernel.inputStart, kernel.inputStart + kernel.inputBytes);
  const parts: Buffer[] = [];
  let [at, length, given] = [0, 0, 0];
  kernel.takeOutput();
  kernel.takeZeroes();
  kernel.start();
  for (;;) {
    const status = kernel.run(at, length, given === stream.length);
    at = kernel.position();
    if (status === inflateStatus.needsInput) {
      input.copyWithin(0, at, length);
      length -= at;
      at = 0;
      const piece = stream.subarray(given, given + Math.min(pieceBytes(), input.length - length));
      input.set(piece, length);
      length += piece.length;
      given += piece.length;
      continue;
    }
    parts.push(Buffer.from(kernel.memory.subarray(kernel.outputStart(), kernel.outputEnd())));
    kernel.takeOutput();
    parts.push(Buffer.alloc(kernel.takeZeroes()));
    if (status === inflateStatus.ended) return { bytes: Buffer.concat(parts), usedBytes: given - (length - at) };
    if (status !== inflateStatus.hasOutput && status !== inflateStatus.hasZeroes) return undefined;
  }
}

export function randomDeflate(random: Random): Buffer {
  const stream = random.chance(2) ? byZlib(random) : written(random);
  return mutated(stream, random);
}

function byZlib(random: Random): Buffer {
  const { Z_DEFAULT_STRATEGY, Z_FILTERED, Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE } = constants;
  return deflateRawSync(content(random), {
    level: random.between(0, 9),
    memLevel: random.between(1, 9),
    windowBits: random.between(9, 15),
    strategy: random.pick([Z_DEFAULT_STRATEGY, Z_DEFAULT_STRATEGY, Z_FILTERED, Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE]),
  });
}

/** Data with runs of zeroes around the size of the window. */
function content(random: Random): Buffer {
  const parts = Array.from({ length: random.between(0, 6) }, () => {
    if (random.chance(3)) return Buffer.alloc(random.below(random.pick([500, 40_000, 200_000])));
    if (random.chance(4)) return Buffer.alloc(random.below(70_000), random.bytes(random.between(1, 20)));
    return random.bytes(random.below(random.pick([10, 3000, 40_000])), random.pick([2, 5, 60, 256]));
  });
  return Buffer.concat(parts);
}

function mutated(original: Buffer, random: Random): Buffer {
  let stream = Buffer.from(original);
  for (let i = random.pick([0, 0, 1, 1, 3]); i > 0 && stream.length > 0; i--) {
    const at = random.chance(2) ? random.below(stream.length) : random.below(Math.min(stream.length, 100));
    const mutation = random.pick(['bit', 'bit', 'byte', 'cut', 'insert'] as const);
    if (mutation === 'bit') stream[at] = (stream[at] ?? 0) ^ (1 << random.below(8));
    if (mutation === 'byte') stream[at] = random.below(256);
    if (mutation === 'cut') stream = stream.subarray(0, at);
    if (mutation === 'insert') stream = Buffer.concat([stream.subarray(0, at), random.bytes(3), stream.subarray(at)]);
  }
  return random.chance(4) ? Buffer.concat([stream, random.bytes(random.below(700))]) : stream;
}

/** Bits, least significant first. */
class Bits {
  readonly #bytes: number[] = [];
  #count = 0;

  write(value: number, count: number): void {
    for (let i = 0; i < count; i++, this.#count++) {
      if (this.#count % 8 === 0) this.#bytes.push(0);
      this.#bytes[this.#bytes.length - 1] = (this.#bytes.at(-1) ?? 0) | (((value >> i) & 1) << (this.#count % 8));
    }
  }

  /** Codes have their most significant bit first. */
  code({ value, length }: Code): void {
    for (let i = length - 1; i >= 0; i--) this.write((value >> i) & 1, 1);
  }

  align(): void {
    while (this.#count % 8 !== 0) this.write(0, 1);
  }

  bytes(): Buffer {
    return Buffer.from(this.#bytes);
  }
}

interface Code {
  readonly value: number;
  readonly length: number;
}

/** Blocks with codes of any shape, which no encoder makes. */
function written(random: Random): Buffer {
  const bits = new Bits();
  let decodedBytes = 0;
  for (let i = random.between(1, 4); i > 0; i--) {
    bits.write(i === 1 ? 1 : 0, 1);
    const type = random.pick([0, 1, 2, 2, 2]);
    bits.write(type, 2);
    if (type === 0) {
      const bytes = random.bytes(random.below(300));
      bits.align();
      bits.write(bytes.length, 16);
      bits.write(bytes.length ^ 0xffff, 16);
      for (const byte of bytes) bits.write(byte, 8);
      decodedBytes += bytes.length;
      continue;
    }
    const codes = type === 1 ? fixedCodes() : writeCodes(bits, random);
    decodedBytes = writeSymbols(bits, codes, decodedBytes, random);
  }
  return bits.bytes();
}

interface Codes {
  readonly lengths: readonly Code[];
  readonly distances: readonly Code[];
}

function fixedCodes(): Codes {
  const lengths = Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8));
  return { lengths: codesOf(lengths), distances: codesOf(Array.from({ length: 32 }, () => 5)) };
}

/** The header of a block with codes of its own. */
function writeCodes(bits: Bits, random: Random): Codes {
  const lengths = someLengths(random.between(257, 286), 15, random, 256);
  const distances = random.chance(6)
    ? [random.below(2), ...(random.chance(2) ? [0] : [])]
    : someLengths(random.between(1, 30), 15, random);
  const all = [...lengths, ...distances];
  const codeLengths = someLengths(19, 7, random);
  // Each length that is used needs a code: otherwise those of four bits for all.
  const needed = new Set(all);
  const isUsable = [...needed].every((length) => (codeLengths[length] ?? 0) > 0);
  const used = isUsable ? codeLengths : Array.from({ length: 19 }, (_, i) => (i < 16 ? 4 : 0));
  const codes = codesOf(used);
  const order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
  bits.write(lengths.length - 257, 5);
  bits.write(distances.length - 1, 5);
  bits.write(15, 4);
  for (const symbol of order) bits.write(used[symbol] ?? 0, 3);
  for (let i = 0; i < all.length; ) {
    const length = all[i] ?? 0;
    let run = 1;
    while (all[i + run] === length) run++;
    const zeroes = codes[18];
    const repeat = codes[16];
    if (length === 0 && run >= 11 && zeroes !== undefined && zeroes.length > 0 && random.chance(2)) {
      const count = Math.min(run, 138);
      bits.code(zeroes);
      bits.write(count - 11, 7);
      i += count;
    } else if (i > 0 && all[i - 1] === length && run >= 3 && repeat !== undefined && repeat.length > 0) {
      const count = Math.min(run, 6);
      bits.code(repeat);
      bits.write(count - 3, 2);
      i += count;
    } else {
      bits.code(codes[length] ?? { value: 0, length: 1 });
      i++;
    }
  }
  return { lengths: codesOf(lengths), distances: codesOf(distances) };
}

/** Code lengths of a complete code of random shape for some of the symbols. */
function someLengths(symbols: number, longest: number, random: Random, needed?: number): number[] {
  const lengths = Array.from({ length: symbols }, () => 0);
  const tree = [1, 1];
  const leaves = random.between(2, symbols);
  for (let tries = 0; tree.length < leaves && tries < 3000; tries++) {
    // The last leaf often: deep trees.
    const at = random.chance(3) ? tree.length - 1 : random.below(tree.length);
    const length = tree[at] ?? 1;
    if (length < longest) tree.splice(at, 1, length + 1, length + 1);
  }
  const places = needed === undefined ? [] : [needed];
  while (places.length < Math.min(tree.length, symbols)) {
    const place = random.below(symbols);
    if (!places.includes(place)) places.push(place);
  }
  for (const [i, place] of places.entries()) lengths[place] = tree[i] ?? 0;
  return lengths;
}

function codesOf(lengths: readonly number[]): Code[] {
  const codes: Code[] = lengths.map((length) => ({ value: 0, length }));
  let value = 0;
  for (let length = 1; length <= 15; length++) {
    for (const [symbol, its] of lengths.entries()) if (its === length) codes[symbol] = { value: value++, length };
    value *= 2;
  }
  return codes;
}

function writeSymbols(bits: Bits, { lengths, distances }: Codes, before: number, random: Random): number {
  let decodedBytes = before;
  const usable = [...lengths.keys()].filter((symbol) => symbol !== 256 && (lengths[symbol]?.length ?? 0) > 0);
  const reach = [...distances.keys()].filter((symbol) => (distances[symbol]?.length ?? 0) > 0);
  for (let i = random.below(400); i > 0 && usable.length > 0; i--) {
    const symbol = random.pick(usable);
    if (symbol < 256) {
      bits.code(lengths[symbol] ?? { value: 0, length: 0 });
      decodedBytes++;
      continue;
    }
    // Mostly distances that exist.
    const near = reach.filter((distance) => distanceOf(distance) <= decodedBytes);
    const distance = random.chance(300) ? random.pick([...reach, 0]) : near.length > 0 ? random.pick(near) : undefined;
    if (distance === undefined) continue;
    bits.code(lengths[symbol] ?? { value: 0, length: 0 });
    const extra = symbol < 265 || symbol >= 285 ? 0 : (symbol - 261) >> 2;
    bits.write(random.below(2 ** extra), extra);
    bits.code(distances[distance] ?? { value: 0, length: 1 });
    bits.write(0, distance < 4 ? 0 : (distance >> 1) - 1);
    decodedBytes += 3;
  }
  bits.code(lengths[256] ?? { value: 0, length: 1 });
  return decodedBytes;
}

/** The shortest of a symbol. */
function distanceOf(symbol: number): number {
  return symbol < 4 ? symbol + 1 : 1 + ((2 + (symbol & 1)) << ((symbol >> 1) - 1));
}
