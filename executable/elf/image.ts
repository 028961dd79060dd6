/**
 * Reads of an ELF file (System V ABI, "Object Files" and "Dynamic Linking"; 64 bits, little-endian)
 * what linking needs.
 */

export const SegmentType = { load: 1, dynamic: 2, interpreter: 3, programHeaders: 6, tls: 7, unwindTable: 0x6474e550 };
export const SegmentFlag = { execute: 1, write: 2, read: 4 };
export const Tag = {
  ...{ null: 0, needed: 1, pltRelocationsSize: 2, pltGot: 3, stringTable: 5, symbolTable: 6, relocations: 7 },
  ...{ relocationsSize: 8, relocationSize: 9, stringsSize: 10, soname: 14, pltRelocationType: 20, pltRelocations: 23 },
  ...{ initArray: 25, initArraySize: 27, preInitArray: 32, preInitArraySize: 33, gnuHash: 0x6ffffef5 },
  ...{ versionIndices: 0x6ffffff0, relativeCount: 0x6ffffff9, versionDefinitions: 0x6ffffffc },
  ...{ versionDefinitionCount: 0x6ffffffd, versionNeeds: 0x6ffffffe, versionNeedCount: 0x6fffffff },
};
export const SymbolType = { object: 1, tls: 6, indirectFunction: 10 };
export const SYMBOL_SIZE = 24;
export const RELOCATION_SIZE = 24;
export const PROGRAM_HEADER_SIZE = 56;
export const DYNAMIC_ENTRY_SIZE = 16;

/** A part of the file that is mapped, or that tells the loader something. */
export interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly fileOffset: number;
  readonly address: number;
  readonly fileSizeBytes: number;
  readonly memorySizeBytes: number;
  readonly alignment: number;
}

export interface Section {
  readonly name: string;
  readonly address: number;
  readonly sizeBytes: number;
}

export interface SymbolVersion {
  readonly name: string;
  /** The library that has it; undefined for what the file itself defines. */
  readonly file: string | undefined;
}

export interface DynamicSymbol {
  readonly name: string;
  readonly version: SymbolVersion | undefined;
  /** Binding in the upper, type in the lower four bits. */
  readonly info: number;
  readonly other: number;
  /** 0: not defined here. */
  readonly section: number;
  readonly value: number;
  readonly sizeBytes: number;
}

export interface Relocation {
  readonly address: number;
  readonly type: number;
  /** Undefined where the entry names none. */
  readonly symbol: DynamicSymbol | undefined;
  readonly addend: number;
}

export class ElfImage {
  readonly bytes: Buffer;
  readonly segments: readonly Segment[];
  /** Sections that are in memory; none where the file does not describe them. */
  readonly sections: readonly Section[];
  readonly dynamic: readonly (readonly [tag: number, value: number])[];
  readonly symbols: readonly DynamicSymbol[];
  readonly relocations: readonly Relocation[];

  /**
   * @throws {Error} this is not a dynamically linked ELF file for 64 bits, little-endian, with a
   *   hash table of GNU's kind
   */
  constructor(bytes: Buffer) {
    if (bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1)
      throw new Error('not an ELF file for 64 bits, little-endian');
    this.bytes = bytes;
    this.segments = readSegments(bytes);
    this.sections = readSections(bytes);
    this.dynamic = this.#readDynamic();
    this.symbols = this.#readSymbols();
    this.relocations = this.#readRelocations();
  }

  get machine(): number {
    return this.bytes.readUInt16LE(18);
  }

  get loads(): Segment[] {
    return this.segments.filter(({ type }) => type === SegmentType.load);
  }

  get endInMemory(): number {
    return Math.max(...this.loads.map(({ address, memorySizeBytes }) => address + memorySizeBytes));
  }

  segment(type: number): Segment | undefined {
    return this.segments.find((segment) => segment.type === type);
  }

  value(tag: number): number | undefined {
    return this.dynamic.find(([one]) => one === tag)?.[1];
  }

  /** Where in the file a range of the memory is kept; undefined where it is nowhere in the file. */
  fileOffset(address: number, sizeBytes = 1): number | undefined {
    const load = this.loads.find(
      (one) => one.address <= address && address + sizeBytes <= one.address + one.fileSizeBytes,
    );
    return load === undefined ? undefined : address - load.address + load.fileOffset;
  }

  /** Texts of the dynamic section: libraries that are needed, the own name. */
  texts(tag: number): string[] {
    return this.dynamic.filter(([one]) => one === tag).map(([, offset]) => this.#text(offset));
  }

  #demand(tag: number): number {
    const value = this.value(tag);
    if (value === undefined) throw new Error(`the dynamic section has no entry of type 0x${tag.toString(16)}`);
    return value;
  }

  #offsetOf(address: number): number {
    const offset = this.fileOffset(address);
    if (offset === undefined) throw new Error(`address 0x${address.toString(16)} is not in the file`);
    return offset;
  }

  #text(offsetBytes: number): string {
    const start = this.#offsetOf(this.#demand(Tag.stringTable)) + offsetBytes;
    return this.bytes.toString('latin1', start, this.bytes.indexOf(0, start));
  }

  #readDynamic(): [number, number][] {
    const segment = this.segment(SegmentType.dynamic);
    if (segment === undefined) throw new Error('not dynamically linked');
    const entries: [number, number][] = [];
    for (let at = segment.fileOffset; ; at += DYNAMIC_ENTRY_SIZE) {
      const entry: [number, number] = [word(this.bytes, at), word(this.bytes, at + 8)];
      if (entry[0] === Tag.null) return entries;
      entries.push(entry);
    }
  }

  #readSymbols(): DynamicSymbol[] {
    const table = this.#offsetOf(this.#demand(Tag.symbolTable));
    const indices = this.#offsetOf(this.#demand(Tag.versionIndices));
    const versions = this.#readVersions();
    return Array.from({ length: this.#symbolCount() }, (_, index) => {
      const at = table + index * SYMBOL_SIZE;
      return {
        name: this.#text(this.bytes.readUInt32LE(at)),
        // The highest bit marks versions that new programs are not linked with.
        version: versions.get(this.bytes.readUInt16LE(indices + 2 * index) & 0x7fff),
        info: this.bytes.readUInt8(at + 4),
        other: this.bytes.readUInt8(at + 5),
        section: this.bytes.readUInt16LE(at + 6),
        value: word(this.bytes, at + 8),
        sizeBytes: word(this.bytes, at + 16),
      };
    });
  }

  /** No entry says how many there are; the last one in the hash table is the last one. */
  #symbolCount(): number {
    const table = this.#offsetOf(this.#demand(Tag.gnuHash));
    const [buckets, first, filters] = [0, 4, 8].map((at) => this.bytes.readUInt32LE(table + at)) as [
      number,
      number,
      number,
    ];
    const bucketsAt = table + 16 + filters * 8;
    const chainsAt = bucketsAt + buckets * 4;
    let last = 0;
    for (let bucket = 0; bucket < buckets; bucket++)
      last = Math.max(last, this.bytes.readUInt32LE(bucketsAt + bucket * 4));
    while ((this.bytes.readUInt32LE(chainsAt + (last - first) * 4) & 1) === 0) last++;
    return last + 1;
  }

  #readVersions(): Map<number, SymbolVersion> {
    const versions = new Map<number, SymbolVersion>();
    const { bytes } = this;
    const definitions = this.value(Tag.versionDefinitions);
    if (definitions !== undefined) {
      let at = this.#offsetOf(definitions);
      for (let left = this.#demand(Tag.versionDefinitionCount); left > 0; left--) {
        const name = this.#text(bytes.readUInt32LE(at + bytes.readUInt32LE(at + 12)));
        const isName = (bytes.readUInt16LE(at + 2) & 1) !== 0; // the library's own name, no version
        if (!isName) versions.set(bytes.readUInt16LE(at + 4), { name, file: undefined });
        at += bytes.readUInt32LE(at + 16);
      }
    }
    const needs = this.value(Tag.versionNeeds);
    if (needs !== undefined) {
      let at = this.#offsetOf(needs);
      for (let left = this.#demand(Tag.versionNeedCount); left > 0; left--) {
        const file = this.#text(bytes.readUInt32LE(at + 4));
        let version = at + bytes.readUInt32LE(at + 8);
        for (let count = bytes.readUInt16LE(at + 2); count > 0; count--) {
          const name = this.#text(bytes.readUInt32LE(version + 8));
          versions.set(bytes.readUInt16LE(version + 6), { name, file });
          version += bytes.readUInt32LE(version + 12);
        }
        at += bytes.readUInt32LE(at + 12);
      }
    }
    return versions;
  }

  #readRelocations(): Relocation[] {
    const tables = [
      [Tag.relocations, Tag.relocationsSize],
      [Tag.pltRelocations, Tag.pltRelocationsSize],
    ] as const;
    return tables.flatMap(([table, size]) => {
      const address = this.value(table);
      if (address === undefined) return [];
      const start = this.#offsetOf(address);
      return Array.from({ length: this.#demand(size) / RELOCATION_SIZE }, (_, index) => {
        const at = start + index * RELOCATION_SIZE;
        const symbol = this.bytes.readUInt32LE(at + 12);
        return {
          address: word(this.bytes, at),
          type: this.bytes.readUInt32LE(at + 8),
          symbol: symbol === 0 ? undefined : this.symbols[symbol],
          addend: Number(this.bytes.readBigInt64LE(at + 16)),
        };
      });
    });
  }
}

/** An unsigned number of 64 bits; addresses and sizes of files stay below 2^53. */
function word(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64LE(at));
}

function readSegments(bytes: Buffer): Segment[] {
  const start = word(bytes, 32);
  return Array.from({ length: bytes.readUInt16LE(56) }, (_, index) => {
    const at = start + index * PROGRAM_HEADER_SIZE;
    return {
      type: bytes.readUInt32LE(at),
      flags: bytes.readUInt32LE(at + 4),
      fileOffset: word(bytes, at + 8),
      address: word(bytes, at + 16),
      fileSizeBytes: word(bytes, at + 32),
      memorySizeBytes: word(bytes, at + 40),
      alignment: word(bytes, at + 48),
    };
  });
}

function readSections(bytes: Buffer): Section[] {
  const start = word(bytes, 40);
  const headers = Array.from({ length: bytes.readUInt16LE(60) }, (_, index) => start + index * 64);
  const names = headers[bytes.readUInt16LE(62)];
  if (names === undefined) return [];
  return headers
    .filter((at) => (word(bytes, at + 8) & 2) !== 0)
    .map((at) => {
      const name = word(bytes, names + 24) + bytes.readUInt32LE(at);
      return {
        name: bytes.toString('latin1', name, bytes.indexOf(0, name)),
        address: word(bytes, at + 16),
        sizeBytes: word(bytes, at + 32),
      };
    });
}
