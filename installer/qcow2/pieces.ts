import { setImmediate as nextTurn } from 'node:timers/promises';
import { type RandomAccess, readInto } from '../fetch/random-access.ts';
import { damaged } from './errors.ts';
import type { Header } from './header.ts';

/** A piece of the disk, and where the file has it. */
export type DiskPiece =
  | { readonly kind: 'zero'; readonly lengthBytes: number }
  | { readonly kind: 'data'; readonly lengthBytes: number; readonly offsetBytes: number }
  | {
      /** A whole cluster, of which the disk has `lengthBytes`. */
      readonly kind: 'compressed';
      readonly lengthBytes: number;
      readonly offsetBytes: number;
      /** Whole sectors: the compressed data may be shorter. */
      readonly storedBytes: number;
    };

/**
 * With `table`: the next piece needs another table of the file; what is before it is read first.
 */
export type Piece = DiskPiece | { readonly kind: 'table' };

/** Entries after which other work gets its turn: some milliseconds. */
const entriesPerTurn = 500_000;

/**
 * All of the disk in its order, by the active L1 table and its L2 tables (QEMU,
 * docs/interop/qcow2.txt, "Cluster mapping"). Pieces that continue each other in the file are one.
 *
 * @throws {DecompressError} an entry of a table is not valid, or what it names is not in the file
 */
export async function* piecesOf(image: RandomAccess, header: Header, signal: AbortSignal): AsyncGenerator<Piece> {
  const { clusterBytes, virtualBytes, hasSubclusters } = header;
  const entryBytes = hasSubclusters ? 16 : 8;
  const coverageBytes = (clusterBytes / entryBytes) * clusterBytes;
  const l1 = await readTable(image, 'L1', header.l1OffsetBytes, header.l1Entries * 8, signal);
  const tables = new TableReader(image);
  const merged = new Merged();
  let scanned = 0;
  for (let index = 0; index < header.l1Entries; index++) {
    const coveredBytes = Math.min(coverageBytes, virtualBytes - index * coverageBytes);
    const entries = Math.ceil(coveredBytes / clusterBytes);
    const tableOffset = offsetIn(l1, index * 8);
    if (tableOffset === 0) {
      yield* merged.add({ kind: 'zero', lengthBytes: coveredBytes });
      scanned++;
    } else {
      if (tableOffset % clusterBytes !== 0)
        throw damaged(
          `L1 entry ${index} names byte ${tableOffset}, which is not the beginning of a cluster`,
          header.l1OffsetBytes + index * 8,
        );
      if (image.isSequential) {
        yield* merged.end();
        yield { kind: 'table' };
        // The read of what is before it has begun when other work has had its turn.
        await nextTurn();
      }
      const table = await tables.read(tableOffset, entries * entryBytes, signal);
      for (let i = 0; i < entries; i++) {
        const lengthBytes = Math.min(clusterBytes, coveredBytes - i * clusterBytes);
        const entry = { table, at: i * entryBytes, offsetBytes: tableOffset + i * entryBytes };
        for (const piece of piecesOfCluster(entry, lengthBytes, header, image.sizeBytes)) yield* merged.add(piece);
      }
      scanned += entries;
    }
    if (scanned < entriesPerTurn) continue;
    scanned = 0;
    await nextTurn();
    signal.throwIfAborted();
  }
  yield* merged.end();
}

/** An entry of an L2 table. */
interface Entry {
  readonly table: Buffer;
  /** Offset in the table. */
  readonly at: number;
  /** Offset in the file, for messages. */
  readonly offsetBytes: number;
}

function piecesOfCluster(
  entry: Entry,
  lengthBytes: number,
  header: Header,
  fileBytes: number | undefined,
): readonly DiskPiece[] {
  const { table, at } = entry;
  const high = table.readUInt32BE(at);
  if ((high & 0x40000000) !== 0) return [compressedPiece(entry, lengthBytes, header, fileBytes)];
  const low = table.readUInt32BE(at + 4);
  const offsetBytes = offsetIn(table, at);
  if (offsetBytes % header.clusterBytes !== 0)
    throw damaged(
      `L2 entry at byte ${entry.offsetBytes} names byte ${offsetBytes}, which is not the beginning of a cluster`,
      entry.offsetBytes,
    );
  if (header.hasSubclusters) return subclusterPieces(entry, offsetBytes, lengthBytes, header, fileBytes);
  const isZero = (low & 1) !== 0;
  if (isZero && header.version === 2)
    throw damaged(`L2 entry at byte ${entry.offsetBytes} is one of version 3`, entry.offsetBytes);
  if (isZero || offsetBytes === 0) return [{ kind: 'zero', lengthBytes }];
  return [dataPiece(entry, offsetBytes, lengthBytes, header, fileBytes)];
}

/**
 * "Extended L2 Entries": bit n of the second word says that subcluster n is allocated, bit 32 + n
 * that it reads as zeroes.
 */
function subclusterPieces(
  entry: Entry,
  offsetBytes: number,
  lengthBytes: number,
  header: Header,
  fileBytes: number | undefined,
): readonly DiskPiece[] {
  const zero = entry.table.readUInt32BE(entry.at + 8);
  const allocated = entry.table.readUInt32BE(entry.at + 12);
  if ((zero & allocated) !== 0 || (offsetBytes === 0 && allocated !== 0))
    throw damaged(`L2 entry at byte ${entry.offsetBytes} contradicts itself`, entry.offsetBytes);
  if (allocated === 0) return [{ kind: 'zero', lengthBytes }];
  const subclusterBytes = header.clusterBytes / 32;
  const pieces: DiskPiece[] = [];
  for (let start = 0, bit = 0; start < lengthBytes; start += subclusterBytes, bit++) {
    const partBytes = Math.min(subclusterBytes, lengthBytes - start);
    const isAllocated = ((allocated >>> bit) & 1) !== 0;
    pieces.push(
      isAllocated
        ? dataPiece(entry, offsetBytes + start, partBytes, header, fileBytes)
        : { kind: 'zero', lengthBytes: partBytes },
    );
  }
  return pieces;
}

function dataPiece(
  entry: Entry,
  offsetBytes: number,
  lengthBytes: number,
  header: Header,
  fileBytes: number | undefined,
): DiskPiece {
  const endBytes = offsetBytes + lengthBytes;
  requireInFile(entry, offsetBytes, endBytes, fileBytes);
  requireNoTable(entry, offsetBytes, endBytes, header);
  return { kind: 'data', lengthBytes, offsetBytes };
}

/** "Compressed Clusters Descriptor" */
function compressedPiece(entry: Entry, lengthBytes: number, header: Header, fileBytes: number | undefined): DiskPiece {
  const { table, at } = entry;
  const high = table.readUInt32BE(at) & 0x3fffffff;
  const low = table.readUInt32BE(at + 4);
  const offsetBits = 62 - (Math.log2(header.clusterBytes) - 8);
  const offsetBytes = (high % 2 ** (offsetBits - 32)) * 2 ** 32 + low;
  const sectors = (high >>> (offsetBits - 32)) + 1;
  const storedBytes = sectors * 512 - (offsetBytes % 512);
  requireInFile(entry, offsetBytes, offsetBytes + 1, fileBytes);
  requireNoTable(entry, offsetBytes, offsetBytes + storedBytes, header);
  // The last sector of the file may be short.
  const available = fileBytes === undefined ? storedBytes : Math.min(storedBytes, fileBytes - offsetBytes);
  return { kind: 'compressed', lengthBytes, offsetBytes, storedBytes: available };
}

function requireInFile(entry: Entry, offsetBytes: number, endBytes: number, fileBytes = Number.MAX_SAFE_INTEGER): void {
  if (endBytes <= fileBytes) return;
  const end = `data at byte ${offsetBytes}, and the file has only ${fileBytes} bytes`;
  throw damaged(`L2 entry at byte ${entry.offsetBytes} names ${end}`, entry.offsetBytes);
}

/** Data is neither in the header nor in the L1 table. */
function requireNoTable(entry: Entry, offsetBytes: number, endBytes: number, header: Header): void {
  const { l1OffsetBytes, l1Entries, clusterBytes } = header;
  const isInHeader = offsetBytes < Math.min(clusterBytes, l1OffsetBytes);
  const isInL1 = offsetBytes < l1OffsetBytes + l1Entries * 8 && endBytes > l1OffsetBytes;
  if (!isInHeader && !isInL1) return;
  const table = isInL1 ? 'the L1 table' : 'the header';
  throw damaged(`L2 entry at byte ${entry.offsetBytes} names a part of ${table} as data`, entry.offsetBytes);
}

/** Bits 9 to 55 of an entry. Beyond 2^53 the result is not exact, but still beyond any file. */
function offsetIn(table: Buffer, at: number): number {
  return (table.readUInt32BE(at) & 0x00ffffff) * 2 ** 32 + ((table.readUInt32BE(at + 4) & 0xfffffe00) >>> 0);
}

async function readTable(
  image: RandomAccess,
  name: 'L1' | 'L2',
  offsetBytes: number,
  lengthBytes: number,
  signal: AbortSignal,
): Promise<Buffer> {
  const endBytes = offsetBytes + lengthBytes;
  const { sizeBytes = Number.MAX_SAFE_INTEGER } = image;
  const table = endBytes > sizeBytes ? undefined : Buffer.allocUnsafeSlow(lengthBytes);
  if (table !== undefined && (await readInto(image, offsetBytes, table, signal)) === lengthBytes) return table;
  throw damaged(`the ${name} table at byte ${offsetBytes} is not all in the file`, offsetBytes);
}

/** Small tables are near each other: they come with one request. */
const minReadBytes = 64 * 1024;

/** Reads L2 tables. It keeps what it has read last. */
class TableReader {
  readonly #image: RandomAccess;
  #start = 0;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(image: RandomAccess) {
    this.#image = image;
  }

  async read(offsetBytes: number, lengthBytes: number, signal: AbortSignal): Promise<Buffer> {
    const at = offsetBytes - this.#start;
    if (at >= 0 && at + lengthBytes <= this.#bytes.length) return this.#bytes.subarray(at, at + lengthBytes);
    const restBytes = (this.#image.sizeBytes ?? offsetBytes + lengthBytes) - offsetBytes;
    const readBytes = Math.max(lengthBytes, Math.min(minReadBytes, restBytes));
    this.#bytes = await readTable(this.#image, 'L2', offsetBytes, readBytes, signal);
    this.#start = offsetBytes;
    return this.#bytes.subarray(0, lengthBytes);
  }
}

/** Joins zeroes, and data that is together in the file. */
class Merged {
  #last: DiskPiece | undefined;

  *add(piece: DiskPiece): Generator<Piece> {
    const last = this.#last;
    const lengthBytes = (last?.lengthBytes ?? 0) + piece.lengthBytes;
    if (last?.kind === 'zero' && piece.kind === 'zero') {
      this.#last = { kind: 'zero', lengthBytes };
    } else if (
      last?.kind === 'data' &&
      piece.kind === 'data' &&
      last.offsetBytes + last.lengthBytes === piece.offsetBytes
    ) {
      this.#last = { ...last, lengthBytes };
    } else {
      yield* this.end();
      this.#last = piece;
    }
  }

  *end(): Generator<Piece> {
    if (this.#last !== undefined) yield this.#last;
    this.#last = undefined;
  }
}
