import type { DynamicSymbol } from './image.ts';
import { SYMBOL_SIZE } from './image.ts';

/** The tables by which the loader finds symbols; none depends on where it is put. */
export interface DynamicTables {
  readonly symbols: Buffer;
  readonly strings: Buffer;
  readonly hash: Buffer;
  readonly versionIndices: Buffer;
  readonly versionNeeds: Buffer;
  readonly versionNeedCount: number;
  /** Offsets in `strings` of the names that were given, in their order. */
  readonly neededNames: readonly number[];
  indexOf(symbol: DynamicSymbol): number;
}

/**
 * @param wanted symbols; what is the same but for the object appears once. Those that have a value
 *   are found by libraries, too.
 * @param needed names of the libraries to load
 */
export function makeDynamicTables(wanted: Iterable<DynamicSymbol>, needed: readonly string[]): DynamicTables {
  const unique = new Map<string, DynamicSymbol>();
  for (const symbol of wanted) {
    const known = unique.get(keyOf(symbol));
    // A weak reference beside a strong one changes nothing; a value makes the symbol one to be
    // found.
    if (known === undefined || symbol.value !== 0 || (isWeak(known) && !isWeak(symbol))) {
      if (known === undefined || known.value === 0) unique.set(keyOf(symbol), symbol);
    }
  }
  const strings = new Strings();
  const neededNames = needed.map((name) => strings.add(name));
  const versions = new VersionNeeds(strings, needed);

  const all = [...unique.values()];
  const hidden = all.filter(({ value }) => value === 0);
  const found = all.filter(({ value }) => value !== 0);
  const { hash, order } = makeHash(found, hidden.length + 1);
  const inOrder = [...hidden, ...order];

  const indices = new Map(inOrder.map((symbol, index) => [keyOf(symbol), index + 1]));
  const symbols = Buffer.alloc((inOrder.length + 1) * SYMBOL_SIZE);
  const versionIndices = Buffer.alloc((inOrder.length + 1) * 2);
  for (const [index, symbol] of inOrder.entries()) {
    const at = (index + 1) * SYMBOL_SIZE;
    symbols.writeUInt32LE(strings.add(symbol.name), at);
    symbols.writeUInt8(symbol.info, at + 4);
    symbols.writeUInt8(symbol.other, at + 5);
    symbols.writeUInt16LE(symbol.section, at + 6);
    symbols.writeBigUInt64LE(BigInt(symbol.value), at + 8);
    symbols.writeBigUInt64LE(BigInt(symbol.sizeBytes), at + 16);
    versionIndices.writeUInt16LE(versions.indexOf(symbol), (index + 1) * 2);
  }
  return {
    ...{ symbols, hash, versionIndices, neededNames },
    ...versions.write(),
    strings: strings.write(),
    indexOf: (symbol) => indices.get(keyOf(symbol)) ?? fail(`${symbol.name} is not in the table of symbols`),
  };
}

const keyOf = ({ name, version }: DynamicSymbol) => `${name}@${version?.name ?? ''}@${version?.file ?? ''}`;
const isWeak = ({ info }: DynamicSymbol) => info >> 4 === 2;

function fail(message: string): never {
  throw new Error(message);
}

class Strings {
  readonly #offsets = new Map<string, number>([['', 0]]);
  #sizeBytes = 1;

  add(text: string): number {
    const known = this.#offsets.get(text);
    if (known !== undefined) return known;
    const offset = this.#sizeBytes;
    this.#offsets.set(text, offset);
    this.#sizeBytes += text.length + 1;
    return offset;
  }

  write(): Buffer {
    return Buffer.from([...this.#offsets.keys()].map((text) => `${text}\0`).join(''), 'latin1');
  }
}

/**
 * The versions of symbols that are needed of each library ("Symbol Versioning" in the Linux
 * Standard Base).
 */
class VersionNeeds {
  readonly #strings: Strings;
  readonly #files: ReadonlyMap<string, Map<string, number>>;
  #next = 2; // 0 and 1 stand for symbols without a version

  constructor(strings: Strings, needed: readonly string[]) {
    this.#strings = strings;
    this.#files = new Map(needed.map((name) => [name, new Map()]));
  }

  indexOf({ name, version }: DynamicSymbol): number {
    if (version?.file === undefined) return 1;
    const versions = this.#files.get(version.file) ?? fail(`${name} is of ${version.file}, which is not needed`);
    const index = versions.get(version.name) ?? this.#next++;
    versions.set(version.name, index);
    return index;
  }

  write(): { versionNeeds: Buffer; versionNeedCount: number } {
    const files = [...this.#files].filter(([, versions]) => versions.size > 0);
    const parts = files.flatMap(([file, versions], position) => {
      const head = Buffer.alloc(16);
      head.writeUInt16LE(1, 0);
      head.writeUInt16LE(versions.size, 2);
      head.writeUInt32LE(this.#strings.add(file), 4);
      head.writeUInt32LE(16, 8);
      head.writeUInt32LE(position === files.length - 1 ? 0 : 16 * (versions.size + 1), 12);
      const entries = [...versions].map(([name, index], entry) => {
        const bytes = Buffer.alloc(16);
        bytes.writeUInt32LE(elfHash(name), 0);
        bytes.writeUInt16LE(index, 6);
        bytes.writeUInt32LE(this.#strings.add(name), 8);
        bytes.writeUInt32LE(entry === versions.size - 1 ? 0 : 16, 12);
        return bytes;
      });
      return [head, ...entries];
    });
    return { versionNeeds: Buffer.concat(parts), versionNeedCount: files.length };
  }
}

/** The hash function of the System V ABI. */
function elfHash(text: string): number {
  let hash = 0;
  for (const character of Buffer.from(text, 'latin1')) {
    hash = ((hash << 4) + character) >>> 0;
    const high = hash & 0xf0000000;
    hash = (hash ^ (high >>> 24)) & ~high;
  }
  return hash >>> 0;
}

/** Bernstein's function, as GNU's hash tables have it. */
function gnuHash(text: string): number {
  let hash = 5381;
  for (const character of Buffer.from(text, 'latin1')) hash = (Math.imul(hash, 33) + character) >>> 0;
  return hash;
}

/**
 * A hash table of GNU's kind; `order` is the one in which its symbols have to follow each other
 * from index `first` on.
 */
function makeHash(symbols: readonly DynamicSymbol[], first: number): { hash: Buffer; order: DynamicSymbol[] } {
  const bucketCount = Math.max(1, symbols.length >> 1);
  const filterCount = 2 ** Math.ceil(Math.log2(Math.max(1, symbols.length / 4)));
  const filterShift = 6;
  const hashed = symbols
    .map((symbol) => ({ symbol, hash: gnuHash(symbol.name) }))
    .sort((a, b) => (a.hash % bucketCount) - (b.hash % bucketCount));
  const table = Buffer.alloc(16 + filterCount * 8 + bucketCount * 4 + hashed.length * 4);
  for (const [index, value] of [bucketCount, first, filterCount, filterShift].entries())
    table.writeUInt32LE(value, index * 4);
  const bucketsAt = 16 + filterCount * 8;
  const chainsAt = bucketsAt + bucketCount * 4;
  for (const [index, { hash }] of hashed.entries()) {
    const filterAt = 16 + (Math.floor(hash / 64) % filterCount) * 8;
    const bits = (1n << BigInt(hash % 64)) | (1n << BigInt((hash >>> filterShift) % 64));
    table.writeBigUInt64LE(table.readBigUInt64LE(filterAt) | bits, filterAt);
    const bucket = hash % bucketCount;
    const bucketAt = bucketsAt + bucket * 4;
    if (table.readUInt32LE(bucketAt) === 0) table.writeUInt32LE(first + index, bucketAt);
    const next = hashed[index + 1];
    const isLast = next === undefined || next.hash % bucketCount !== bucket;
    table.writeUInt32LE(((hash & ~1) | (isLast ? 1 : 0)) >>> 0, chainsAt + index * 4);
  }
  return { hash: table, order: hashed.map(({ symbol }) => symbol) };
}
