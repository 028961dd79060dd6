import { unrandomise } from '../../../../installer/decompress/bzip2/randomised.ts';
import type { Random } from '../random.ts';

// Makes bzip2 files that no ordinary encoder makes: every field of the format can be given a value
// of its own.

/** Bits, most significant first, and the places between them that a test may want to cut at. */
export class BitWriter {
  readonly #bytes: number[] = [];
  #bits = 0;
  readonly marks: number[] = [];

  get length(): number {
    return this.#bits;
  }

  write(value: number, count: number): void {
    for (let i = count - 1; i >= 0; i--) {
      if (this.#bits % 8 === 0) this.#bytes.push(0);
      const bit = Math.floor(value / 2 ** i) % 2;
      this.#bytes[this.#bytes.length - 1] = (this.#bytes.at(-1) ?? 0) | (bit << (7 - (this.#bits % 8)));
      this.#bits++;
    }
  }

  mark(): void {
    this.marks.push(this.#bits);
  }

  align(filler = 0): void {
    while (this.#bits % 8 !== 0) this.write(filler, 1);
  }

  bytes(): Buffer {
    return Buffer.from(this.#bytes);
  }
}

export interface BlockSpec {
  /** The last column of the sorted rotations: any bytes, they need not come from a real text. */
  readonly column: Uint8Array;
  readonly origin: number;
  readonly randomised?: boolean;
  /** Bytes that the block declares without using them. */
  readonly unused?: readonly number[];
  readonly groups?: number;
  readonly extraSelectors?: number;
  readonly code?: 'flat' | 'huffman' | 'random' | 'oversubscribed';
  /** Needless steps up and down in the code lengths. */
  readonly detours?: boolean;
  /** What is wrong with the block. */
  readonly fault?: Fault;
}

export type Fault =
  | 'crc'
  | 'magic'
  | 'origin'
  | 'no symbols'
  | 'one group'
  | 'seven groups'
  | 'no selectors'
  | 'selector'
  | 'few selectors'
  | 'length zero'
  | 'length 21'
  | 'unknown code'
  | 'long run';

export interface StreamSpec {
  readonly level: number;
  readonly blocks: readonly BlockSpec[];
  readonly fault?: 'crc' | 'magic' | 'level';
}

/** Writes a stream; the content it decodes to is a matter of `contentOf`. */
export function writeStream(writer: BitWriter, { level, blocks, fault }: StreamSpec, random: Random): void {
  writer.mark();
  writer.write(0x425a68, 24);
  writer.write(fault === 'level' ? 0x30 : 0x30 + level, 8);
  let combined = 0;
  for (const block of blocks) {
    const crc = writeBlock(writer, block, random);
    combined = ((combined << 1) | (combined >>> 31)) ^ crc;
  }
  writer.mark();
  writer.write(0x177245, 24);
  writer.write(fault === 'magic' ? 0x385091 : 0x385090, 24);
  writer.mark();
  writer.write((combined ^ (fault === 'crc' ? 1 : 0)) >>> 0, 32);
  writer.align(random.below(2));
  writer.mark();
}

function writeBlock(writer: BitWriter, block: BlockSpec, random: Random): number {
  const content = contentOf(block);
  const crc = crc32(content ?? Buffer.alloc(0));
  const { fault } = block;
  writer.mark();
  writer.write(0x314159, 24);
  writer.write(fault === 'magic' ? 0x265358 : 0x265359, 24);
  writer.mark();
  writer.write((crc ^ (fault === 'crc' ? 0x10000 : 0)) >>> 0, 32);
  writer.write(block.randomised ? 1 : 0, 1);
  writer.write(fault === 'origin' ? block.column.length : block.origin, 24);
  writer.mark();
  const used = [...new Set([...block.column, ...(block.unused ?? [])])].sort((a, b) => a - b);
  writeUsed(writer, fault === 'no symbols' ? [] : used);
  writer.mark();
  const symbols = symbolsOf(block.column, used);
  if (fault === 'long run') symbols.splice(0, 0, ...Array.from({ length: 22 }, () => 1));
  const groups = block.groups ?? 2;
  const selectors = Array.from({ length: Math.ceil(symbols.length / 50) }, () => random.below(groups));
  writeSelectors(writer, block, selectors, groups, random);
  writer.mark();
  const alphabet = used.length + 2;
  const codes = Array.from({ length: groups }, () => lengthsFor(symbols, alphabet, block.code ?? 'huffman', random));
  if (fault === 'unknown code') codes.forEach((lengths) => void lengths.fill(20));
  for (const lengths of codes) writeLengths(writer, lengths, block, random);
  writer.mark();
  const values = codes.map((lengths) => codeValues(lengths));
  if (fault === 'unknown code') writer.write(0xfffff, 20);
  symbols.forEach((symbol, i) => {
    const group = selectors[Math.floor(i / 50)] ?? 0;
    writer.write(values[group]?.[symbol] ?? 0, codes[group]?.[symbol] ?? 1);
  });
  return crc;
}

function writeUsed(writer: BitWriter, used: readonly number[]): void {
  for (let range = 0; range < 16; range++) writer.write(used.some((byte) => byte >> 4 === range) ? 1 : 0, 1);
  for (let range = 0; range < 16; range++) {
    if (!used.some((byte) => byte >> 4 === range)) continue;
    for (let i = 0; i < 16; i++) writer.write(used.includes(range * 16 + i) ? 1 : 0, 1);
  }
}

function writeSelectors(
  writer: BitWriter,
  { fault, extraSelectors = 0 }: BlockSpec,
  selectors: readonly number[],
  groups: number,
  random: Random,
): void {
  writer.write(fault === 'one group' ? 1 : fault === 'seven groups' ? 7 : groups, 3);
  const written = fault === 'few selectors' ? selectors.slice(1) : [...selectors];
  for (let i = 0; i < extraSelectors; i++) written.push(random.below(groups));
  writer.write(fault === 'no selectors' ? 0 : written.length, 15);
  const order = Array.from({ length: groups }, (_, i) => i);
  for (const [i, selector] of written.entries()) {
    const place = order.indexOf(selector);
    order.splice(place, 1);
    order.unshift(selector);
    const steps = fault === 'selector' && i === written.length - 1 ? groups : place;
    for (let step = 0; step < steps; step++) writer.write(1, 1);
    writer.write(0, 1);
  }
}

function writeLengths(writer: BitWriter, lengths: readonly number[], block: BlockSpec, random: Random): void {
  let current = lengths[0] ?? 1;
  writer.write(current, 5);
  const step = (by: 1 | -1) => {
    writer.write(by === 1 ? 2 : 3, 2);
    current += by;
  };
  for (const [symbol, length] of lengths.entries()) {
    if (block.detours) {
      while (random.chance(3)) step(current === 20 || (current > 1 && random.chance(2)) ? -1 : 1);
    }
    while (current < length) step(1);
    while (current > length) step(-1);
    if (symbol === 1 && block.fault === 'length zero') while (current > 0) step(-1);
    if (symbol === 1 && block.fault === 'length 21') while (current < 21) step(1);
    writer.write(0, 1);
  }
}

/** Moves to front and writes runs of the front byte in bijective base 2. */
function symbolsOf(column: Uint8Array, used: readonly number[]): number[] {
  const order = [...used];
  const symbols: number[] = [];
  let run = 0;
  const endRun = () => {
    for (; run > 0; run = (run - 1) >> 1) symbols.push(run % 2 === 1 ? 0 : 1);
  };
  for (const byte of column) {
    const place = order.indexOf(byte);
    if (place === 0) {
      run++;
      continue;
    }
    endRun();
    order.splice(place, 1);
    order.unshift(byte);
    symbols.push(place + 1);
  }
  endRun();
  symbols.push(used.length + 1);
  return symbols;
}

function lengthsFor(
  symbols: readonly number[],
  alphabet: number,
  kind: NonNullable<BlockSpec['code']>,
  random: Random,
): number[] {
  if (kind === 'flat') return Array.from({ length: alphabet }, () => Math.max(1, Math.ceil(Math.log2(alphabet))));
  if (kind === 'random') return splitLengths(alphabet, random);
  const counts: number[] = Array.from({ length: alphabet }, () => (kind === 'huffman' ? 1 : 0));
  for (const symbol of symbols) counts[symbol] = (counts[symbol] ?? 0) + 1;
  const lengths = huffman(counts);
  // Symbols that do not occur get codes beyond what the bits can tell apart, after all others in
  // canonical order.
  const longest = Math.max(...lengths);
  return lengths.map((length) => (length === 0 ? random.between(Math.min(20, longest + 1), 20) : length));
}

/** A complete code of random shape. */
function splitLengths(alphabet: number, random: Random): number[] {
  const lengths = [1, 1];
  while (lengths.length < alphabet) {
    const at = random.below(lengths.length);
    const length = lengths[at] ?? 1;
    if (length === 20) continue;
    lengths.splice(at, 1, length + 1, length + 1);
  }
  return lengths.slice(0, Math.max(alphabet, 2));
}

function huffman(counts: readonly number[]): number[] {
  const lengths: number[] = counts.map(() => 0);
  let nodes = counts.flatMap((count, symbol) => (count > 0 ? [{ count, symbols: [symbol] }] : []));
  if (nodes.length === 1) for (const symbol of nodes[0]?.symbols ?? []) lengths[symbol] = 1;
  while (nodes.length > 1) {
    nodes.sort((a, b) => b.count - a.count);
    const [a, b] = [nodes.pop(), nodes.pop()];
    const symbols = [...(a?.symbols ?? []), ...(b?.symbols ?? [])];
    for (const symbol of symbols) lengths[symbol] = (lengths[symbol] ?? 0) + 1;
    nodes = [...nodes, { count: (a?.count ?? 0) + (b?.count ?? 0), symbols }];
  }
  return lengths.some((length) => length > 20) ? huffman(counts.map((count) => Math.ceil(count / 2))) : lengths;
}

function codeValues(lengths: readonly number[]): number[] {
  const values = lengths.map(() => 0);
  let code = 0;
  for (let length = 1; length <= 20; length++) {
    for (const [symbol, its] of lengths.entries()) if (its === length) values[symbol] = code++;
    code *= 2;
  }
  return values;
}

/** What a block decodes to, by the plainest means; undefined if it ends within a run. */
export function contentOf({ column, origin, randomised }: BlockSpec): Buffer | undefined {
  const rows = [...column.keys()].sort((a, b) => (column[a] ?? 0) - (column[b] ?? 0) || a - b);
  const block = Buffer.alloc(column.length);
  for (let i = 0, row = origin; i < block.length; i++) {
    row = rows[row] ?? 0;
    block[i] = column[row] ?? 0;
  }
  if (randomised) unrandomise(block);
  const content: number[] = [];
  for (let i = 0, equal = 0; i < block.length; i++) {
    const byte = block[i] ?? 0;
    equal = equal > 0 && block[i - 1] === byte ? equal + 1 : 1;
    content.push(byte);
    if (equal < 4) continue;
    if (++i === block.length) return undefined;
    for (let more = block[i] ?? 0; more > 0; more--) content.push(byte);
    equal = 0;
  }
  return Buffer.from(content);
}

/** The block for a text: runs counted, rotations sorted. */
export function blockOf(text: Uint8Array, options: Omit<BlockSpec, 'column' | 'origin'> = {}): BlockSpec {
  const counted: number[] = [];
  for (let i = 0; i < text.length; ) {
    let run = 1;
    while (run < 259 && i + run < text.length && text[i + run] === text[i]) run++;
    for (let k = 0; k < Math.min(run, 4); k++) counted.push(text[i] ?? 0);
    if (run >= 4) counted.push(run - 4);
    i += run;
  }
  const block = Buffer.from(counted);
  if (options.randomised) unrandomise(block);
  const twice = Buffer.concat([block, block]);
  const rotations = [...block.keys()].sort((a, b) => twice.compare(twice, b, b + block.length, a, a + block.length));
  const column = Buffer.from(rotations.map((start) => twice[start + block.length - 1] ?? 0));
  return { column, origin: rotations.indexOf(0), ...options };
}

/** CRC-32, bit by bit. */
export function crc32(bytes: Uint8Array): number {
  let register = -1;
  for (const byte of bytes) {
    register ^= byte << 24;
    for (let bit = 0; bit < 8; bit++) register = (register << 1) ^ (register < 0 ? 0x04c11db7 : 0);
  }
  return ~register >>> 0;
}
