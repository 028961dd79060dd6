import { makeDynamicTables } from './dynamic-tables.ts';
import {
  DYNAMIC_ENTRY_SIZE,
  type DynamicSymbol,
  type ElfImage,
  PROGRAM_HEADER_SIZE,
  RELOCATION_SIZE,
  type Relocation,
  type Segment,
  SegmentFlag,
  SegmentType,
  Tag,
} from './image.ts';
import type { LinkedMemory } from './linked-memory.ts';
import { type Machine, roundDown, roundUp } from './machine.ts';
import type { Parts } from './relocate.ts';
import { readUnwindTable, unwindTableSize, writeUnwindTable } from './unwind-table.ts';

/** Sections that only the loader reads. They are made anew. */
const loaderSections: ReadonlySet<string> = new Set([
  ...['.gnu.hash', '.dynsym', '.dynstr', '.gnu.version', '.gnu.version_d', '.gnu.version_r', '.rela.dyn', '.rela.plt'],
]);

/**
 * Entries of the dynamic section that are left out when it is made anew. What the loader may do
 * later, at the first call, it does at the start.
 */
const entriesLeftOut: ReadonlySet<number> = new Set([
  ...[Tag.pltGot, Tag.pltRelocations, Tag.pltRelocationsSize, Tag.pltRelocationType, Tag.relativeCount],
]);

/**
 * Writes the program with the library in it.
 *
 * What the loader reads takes the place of the old tables, and behind it, in the same place, are
 * the library's pages; nothing else moves.
 * @param soname name of the library, which is needed no more
 * @param relocations what is left to the loader
 */
export function assemble(
  parts: Parts,
  memory: LinkedMemory,
  soname: string,
  relocations: readonly Relocation[],
): Buffer {
  const { program, library, base, machine, threadLocals } = parts;
  const room = roomIn(program, machine);
  const needed = [...new Set([...program.texts(Tag.needed), ...library.texts(Tag.needed)])];
  const named = relocations.flatMap(({ symbol }) => symbol ?? []);
  const tables = makeDynamicTables(
    [...named, ...sharedVariables(program, relocations, machine)],
    needed.filter((name) => name !== soname),
  );
  const unwindTable = joinUnwindTables(program, library, base, memory);
  memory.erase(room.start, room.end);
  const pages = libraryPages(library, base, machine);

  const place = new Placement(memory.program, room);
  const headersAt = place.reserve((program.segments.length + 2 + pages.length) * PROGRAM_HEADER_SIZE, 8);
  const at = {
    symbols: place.put(tables.symbols, 8),
    strings: place.put(tables.strings, 8),
    hash: place.put(tables.hash, 8),
    versionIndices: place.put(tables.versionIndices, 8),
    versionNeeds: place.put(tables.versionNeeds, 8),
    relocations: place.put(relocationTable(relocations, tables.indexOf), 8),
    constructors: place.put(constructorsOf(library, base, memory), 8),
    threadLocals: place.put(threadLocals.initial, threadLocals.alignment),
    unwindTable: place.reserve(unwindTable.sizeBytes, 8),
  };
  unwindTable.write(at.unwindTable).copy(memory.program, place.fileOffset(at.unwindTable));
  const endOfTables = place.end;
  const added = pages.map((segment) => {
    const content = memory.read(segment.address, segment.memorySizeBytes);
    return { ...segment, fileOffset: place.fileOffset(place.put(content, machine.pageSizeBytes)) };
  });

  const dynamic = dynamicSection(program, [
    ...tables.neededNames.map((offset) => [Tag.needed, offset] as const),
    ...([
      [Tag.preInitArray, at.constructors],
      [Tag.preInitArraySize, library.value(Tag.initArraySize) ?? 0],
      [Tag.gnuHash, at.hash],
      [Tag.symbolTable, at.symbols],
      [Tag.stringTable, at.strings],
      [Tag.stringsSize, tables.strings.length],
      [Tag.relocations, at.relocations],
      [Tag.relocationsSize, relocations.length * RELOCATION_SIZE],
      [Tag.versionIndices, at.versionIndices],
      [Tag.versionNeeds, at.versionNeeds],
      [Tag.versionNeedCount, tables.versionNeedCount],
    ] as const),
  ]);
  dynamic.copy(memory.program, segmentOf(program, SegmentType.dynamic).fileOffset);

  const movedTo = (address: number, sizeBytes: number) => ({
    ...{ address, fileOffset: place.fileOffset(address), fileSizeBytes: sizeBytes, memorySizeBytes: sizeBytes },
  });
  const segments = program.segments.flatMap((segment): Segment[] => {
    if (segment === room.load) return [resized(segment, endOfTables - segment.address), ...room.behind];
    if (segment.type === SegmentType.programHeaders) return [];
    if (segment.type === SegmentType.dynamic) return [resized(segment, dynamic.length)];
    if (segment.type === SegmentType.unwindTable)
      return [{ ...segment, ...movedTo(at.unwindTable, unwindTable.sizeBytes) }];
    if (segment.type === SegmentType.tls) {
      const initial = movedTo(at.threadLocals, threadLocals.initial.length);
      return [{ ...segment, ...initial, memorySizeBytes: threadLocals.sizeBytes }];
    }
    return [segment];
  });
  const count = segments.length + added.length + 1;
  const headers: Segment = {
    ...{ type: SegmentType.programHeaders, flags: SegmentFlag.read, alignment: 8 },
    ...movedTo(headersAt, count * PROGRAM_HEADER_SIZE),
  };
  // The library's pages have the highest addresses: the kernel wants what it maps in order of
  // addresses.
  const all = [headers, ...segments, ...added];
  writeHeaders(memory.program, headers.fileOffset, all);
  return memory.program.subarray(0, Math.max(...all.map((one) => one.fileOffset + one.fileSizeBytes)));
}

/** The place of the old tables. */
interface Room {
  readonly start: number;
  readonly end: number;
  /** The segment that they are in. */
  readonly load: Segment;
  /** What else is in this segment, behind them; one or none. */
  readonly behind: readonly Segment[];
}

function roomIn(program: ElfImage, machine: Machine): Room {
  const { start, end, load } = loaderTables(program);
  const endOfLoad = load.address + load.fileSizeBytes;
  const next = roundDown(end, machine.pageSizeBytes);
  if (end === endOfLoad) return { start, end, load, behind: [] };
  const sizeBytes = endOfLoad - next;
  const fileOffset = next - load.address + load.fileOffset;
  return { start, end: next, load, behind: [{ ...resized(load, sizeBytes), address: next, fileOffset }] };
}

function loaderTables(image: ElfImage): { start: number; end: number; load: Segment } {
  const tables = image.sections.filter(({ name }) => loaderSections.has(name));
  if (tables.length === 0) throw new Error('the file has no section headers for the tables of the loader');
  const start = Math.min(...tables.map(({ address }) => address));
  const end = Math.max(...tables.map(({ address, sizeBytes }) => address + sizeBytes));
  const between = image.sections.find(
    ({ name, address }) => start <= address && address < end && !loaderSections.has(name),
  );
  if (between !== undefined) throw new Error(`section ${between.name} is among the tables of the loader`);
  const load = image.loads.find((one) => one.address <= start && end <= one.address + one.fileSizeBytes);
  if (load === undefined) throw new Error('the tables of the loader are not in one segment');
  return { start, end, load };
}

/** Hands out addresses in a room, one behind the other. */
class Placement {
  readonly #file: Buffer;
  readonly #room: Room;
  end: number;

  constructor(file: Buffer, room: Room) {
    this.#file = file;
    this.#room = room;
    this.end = room.start;
  }

  fileOffset(address: number): number {
    return address - this.#room.load.address + this.#room.load.fileOffset;
  }

  reserve(sizeBytes: number, alignment: number): number {
    const address = roundUp(this.end, alignment);
    this.end = address + sizeBytes;
    const missing = this.end - this.#room.end;
    if (missing > 0)
      throw new Error(`the library needs ${missing} bytes more than the old tables of the program leave`);
    return address;
  }

  put(bytes: Buffer, alignment: number): number {
    const address = this.reserve(bytes.length, alignment);
    bytes.copy(this.#file, this.fileOffset(address));
    return address;
  }
}

/**
 * The library's segments at their new addresses, without its tables for the loader; zeroes at their
 * end are in the file, too.
 */
function libraryPages(library: ElfImage, base: number, machine: Machine): Segment[] {
  const { end, load } = loaderTables(library);
  return library.loads.flatMap((segment) => {
    const first = segment === load ? Math.min(end, segment.address + segment.memorySizeBytes) : segment.address;
    const last = segment.address + segment.memorySizeBytes;
    const start = roundDown(first, machine.pageSizeBytes);
    if (segment === load && last - start < machine.pageSizeBytes && first === last) return [];
    const sizeBytes = last - start;
    return [
      {
        ...{ type: SegmentType.load, flags: segment.flags, fileOffset: 0, address: base + start },
        ...{ fileSizeBytes: sizeBytes, memorySizeBytes: sizeBytes, alignment: machine.pageSizeBytes },
      },
    ];
  });
}

/**
 * Variables of other libraries that the program has a place for, under all their names: those
 * libraries have to find them there.
 */
function sharedVariables(
  program: ElfImage,
  relocations: readonly Relocation[],
  { relocation }: Machine,
): DynamicSymbol[] {
  const copied = relocations.flatMap(({ type, symbol }) => (type === relocation.copy && symbol ? [symbol] : []));
  return program.symbols.filter(
    ({ section, value }) =>
      section !== 0 && copied.some((one) => one.value <= value && value < one.value + one.sizeBytes),
  );
}

function joinUnwindTables(
  program: ElfImage,
  library: ElfImage,
  base: number,
  memory: LinkedMemory,
): { sizeBytes: number; write(address: number): Buffer } {
  const [own, added] = [segmentOf(program, SegmentType.unwindTable), segmentOf(library, SegmentType.unwindTable)];
  const ofProgram = readUnwindTable(memory.read(own.address, own.fileSizeBytes), own.address);
  const ofLibrary = readUnwindTable(memory.read(base + added.address, added.fileSizeBytes), base + added.address);
  memory.erase(own.address, own.address + own.fileSizeBytes);
  const entries = [...ofProgram.entries, ...ofLibrary.entries];
  return {
    sizeBytes: unwindTableSize(entries.length),
    write: (address) => writeUnwindTable(ofProgram.frames, entries, address),
  };
}

/**
 * The addresses of the functions that prepare the library. The loader runs those of
 * DT_PREINIT_ARRAY before all others, as it would have run the library's before the program's. (The
 * program's own list has no room, and its code may know where that is.) The library's DT_INIT is
 * left out: with GCC it does nothing but start a profiler.
 */
function constructorsOf(library: ElfImage, base: number, memory: LinkedMemory): Buffer {
  const address = library.value(Tag.initArray);
  return address === undefined
    ? Buffer.alloc(0)
    : Buffer.from(memory.read(base + address, library.value(Tag.initArraySize) ?? 0));
}

function relocationTable(relocations: readonly Relocation[], indexOf: (symbol: DynamicSymbol) => number): Buffer {
  const table = Buffer.alloc(relocations.length * RELOCATION_SIZE);
  for (const [index, { address, type, symbol, addend }] of relocations.entries()) {
    const at = index * RELOCATION_SIZE;
    table.writeBigUInt64LE(BigInt(address), at);
    table.writeUInt32LE(type, at + 8);
    table.writeUInt32LE(symbol === undefined ? 0 : indexOf(symbol), at + 12);
    table.writeBigInt64LE(BigInt(addend), at + 16);
  }
  return table;
}

/**
 * The dynamic section with other entries of some types.
 * @throws {Error} it does not fit into the place of the old one
 */
function dynamicSection(program: ElfImage, changed: readonly (readonly [tag: number, value: number])[]): Buffer {
  const tags = new Set(changed.map(([tag]) => tag));
  if (program.value(Tag.preInitArray) !== undefined)
    throw new Error('the program has functions of its own to run first, which is not supported');
  const kept = program.dynamic.filter(([tag]) => !tags.has(tag) && !entriesLeftOut.has(tag));
  const entries = [...changed, ...kept, [Tag.null, 0] as const];
  const section = Buffer.alloc(entries.length * DYNAMIC_ENTRY_SIZE);
  for (const [index, [tag, value]] of entries.entries()) {
    section.writeBigUInt64LE(BigInt(tag), index * DYNAMIC_ENTRY_SIZE);
    section.writeBigUInt64LE(BigInt(value), index * DYNAMIC_ENTRY_SIZE + 8);
  }
  const { fileSizeBytes } = segmentOf(program, SegmentType.dynamic);
  if (section.length > fileSizeBytes) throw new Error('the dynamic section has too little room');
  return Buffer.concat([section, Buffer.alloc(fileSizeBytes - section.length)]);
}

function segmentOf(image: ElfImage, type: number): Segment {
  const segment = image.segment(type);
  if (segment === undefined) throw new Error(`the file has no segment of type 0x${type.toString(16)}`);
  return segment;
}

function resized(segment: Segment, sizeBytes: number): Segment {
  return { ...segment, fileSizeBytes: sizeBytes, memorySizeBytes: sizeBytes };
}

/** Writes the program headers, and into the file's header where they are. The sections are gone. */
function writeHeaders(file: Buffer, fileOffset: number, segments: readonly Segment[]): void {
  for (const [index, segment] of segments.entries()) {
    const at = fileOffset + index * PROGRAM_HEADER_SIZE;
    file.writeUInt32LE(segment.type, at);
    file.writeUInt32LE(segment.flags, at + 4);
    const { address, fileSizeBytes, memorySizeBytes, alignment } = segment;
    for (const [position, value] of [
      ...[segment.fileOffset, address, address, fileSizeBytes, memorySizeBytes, alignment],
    ].entries())
      file.writeBigUInt64LE(BigInt(value), at + 8 + 8 * position);
  }
  file.writeBigUInt64LE(BigInt(fileOffset), 32);
  file.writeUInt16LE(segments.length, 56);
  file.fill(0, 40, 48); // where the section headers are
  file.fill(0, 60, 64); // how many, and which one has their names
}
