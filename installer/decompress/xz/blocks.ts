import { createHash } from 'node:crypto';
import { crc32 } from '../crc32.ts';
import { DecompressError, damaged } from '../error.ts';
import type { SourceReader } from '../source-reader.ts';
import { skipTrailing } from '../trailing.ts';

/** The .xz file format, section 2.1.1.1. */
const magic = Buffer.from('fd377a585a00', 'hex');
const streamHeaderBytes = 12;
/** Section 2.1.1.2: by the type of the check. */
const checkBytes = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
/** None, CRC32, CRC64, SHA-256: those that liblzma verifies. */
const knownChecks = [0, 1, 4, 10];
/** Section 5.3.1. */
const lzma2 = 0x21;

/** Smaller blocks are passed on together: what a stream costs is that of some ten kB of data. */
export const minGroupBytes = 64 * 1024;

export interface BlockOptions {
  /** Refuses a stream whose check is of an unknown type. Default: warns of it. */
  readonly requireCheck?: boolean | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** A block, or several small ones, as a stream of their own. */
export interface Block {
  /** Where it begins in the file. */
  readonly startBytes: number;
  /** The parts of that stream, as they arrive. Must be read to the end before the next block. */
  readonly parts: AsyncGenerator<Uint8Array>;
}

/**
 * The blocks of all streams of a file. They are independent of one another. Their ends are known
 * without decoding them: the last filter is always LZMA2, which has chunks with their sizes in
 * front (section 5.3.1; the chunks are those of LZMA SDK's Lzma2Dec.c). What is between the blocks
 * is verified here: the headers and footers of streams and their indexes.
 *
 * @throws {DecompressError}
 */
export async function* blocksOf(reader: SourceReader, options: BlockOptions): AsyncGenerator<Block> {
  for (let isFirst = true; ; isFirst = false) {
    const beginning = await reader.peek(magic.length);
    if (!isFirst && beginning[0] === 0 && (await reader.skipZeroes())) continue;
    if (!isFirst && !beginning.equals(magic)) return await skipTrailing(reader, 'xz', options.onWarning);
    yield* blocksOfStream(reader, options);
  }
}

async function* blocksOfStream(reader: SourceReader, options: BlockOptions): AsyncGenerator<Block> {
  const header = await taken(reader, streamHeaderBytes);
  const flags = header.subarray(6, 8);
  const check = flags[1] ?? 0;
  if (header.readUInt32LE(8) !== crc32(flags, 0) || flags[0] !== 0 || check > 15) throw isDamaged(reader);
  if (!knownChecks.includes(check)) noteUnknownCheck(reader.positionBytes, options);
  const sizes = new Sizes();
  while (firstOf(await reader.peek(1), reader) !== 0) {
    const group = new BlockReader(reader, header);
    yield { startBytes: reader.positionBytes, parts: group.parts() };
    for (const block of group.blocks) sizes.add(block);
  }
  await readIndex(reader, sizes, flags);
}

function noteUnknownCheck(offsetBytes: number, { requireCheck = false, onWarning }: BlockOptions): void {
  const what = `the xz data from byte ${offsetBytes} on has a checksum of an unknown type`;
  if (requireCheck) throw new DecompressError(`${what}, and there is no signature`, { offsetBytes });
  onWarning?.(`${what}; only the signature is verified`);
}

interface BlockSize {
  /** Of header, data and check (section 3.4). */
  readonly unpaddedBytes: number;
  readonly contentBytes: number;
}

class BlockReader {
  readonly #reader: SourceReader;
  readonly #streamHeader: Buffer;
  readonly blocks: BlockSize[] = [];

  constructor(reader: SourceReader, streamHeader: Buffer) {
    this.#reader = reader;
    this.#streamHeader = streamHeader;
  }

  async *parts(): AsyncGenerator<Uint8Array> {
    const reader = this.#reader;
    const startBytes = reader.positionBytes;
    yield this.#streamHeader;
    // An index begins with a zero.
    do yield* this.#block();
    while (reader.positionBytes - startBytes < minGroupBytes && firstOf(await reader.peek(1), reader) !== 0);
    yield endOfStream(this.blocks, this.#flags);
  }

  async *#block(): AsyncGenerator<Uint8Array> {
    const reader = this.#reader;
    const headerBytes = (firstOf(await reader.peek(1), reader) + 1) * 4;
    const header = await taken(reader, headerBytes);
    if (!endsWithLzma2(header)) throw damaged('xz', 'it uses an unknown filter or check', reader.positionBytes);
    yield header;
    let [dataBytes, contentBytes] = [0, 0];
    for (let control = -1; control !== 0; ) {
      const beginning = await reader.peek(6);
      control = firstOf(beginning, reader);
      const sizes = chunkSizes(beginning, control, reader);
      contentBytes += sizes.contentBytes;
      const chunk = await taken(reader, sizes.lengthBytes);
      dataBytes += chunk.length;
      yield chunk;
    }
    const checkSize = checkBytes[this.#flags[1] ?? 0] ?? 0;
    yield await taken(reader, ((4 - (dataBytes % 4)) % 4) + checkSize);
    this.blocks.push({ unpaddedBytes: headerBytes + dataBytes + checkSize, contentBytes });
  }

  get #flags(): Buffer {
    return this.#streamHeader.subarray(6, 8);
  }
}

/** Of a chunk that begins so; its last one has the control byte 0. */
function chunkSizes(beginning: Buffer, control: number, reader: SourceReader) {
  if (control === 0) return { lengthBytes: 1, contentBytes: 0 };
  if (beginning.length < 6) throw ends(reader);
  const low = beginning.readUInt16BE(1) + 1;
  if (control < 3) return { lengthBytes: 3 + low, contentBytes: low };
  if (control < 0x80) throw isDamaged(reader);
  const properties = control >= 0xc0 ? 1 : 0;
  return {
    lengthBytes: 5 + properties + beginning.readUInt16BE(3) + 1,
    contentBytes: ((control & 0x1f) << 16) + low,
  };
}

/** Section 3.1. What else may be wrong with the header is left to the decoder. */
function endsWithLzma2(header: Buffer): boolean {
  const flags = header[1] ?? 0;
  let at = 2;
  const number = () => {
    let value = 0;
    for (let shift = 0; at < header.length; shift += 7) {
      const byte = header[at++] ?? 0;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    return value;
  };
  if (flags & 0x40) number();
  if (flags & 0x80) number();
  let last = 0;
  for (let i = 0; i <= (flags & 3); i++) {
    last = number();
    const propertiesBytes = number();
    at += propertiesBytes;
  }
  return last === lzma2;
}

/** Index and footer of a stream (sections 4 and 2.1.2). */
function endOfStream(blocks: readonly BlockSize[], flags: Buffer): Buffer {
  const numbers = blocks.flatMap(({ unpaddedBytes, contentBytes }) => [unpaddedBytes, contentBytes]);
  const records = Buffer.from([0, ...[blocks.length, ...numbers].flatMap(encoded)]);
  const padded = Buffer.concat([records, Buffer.alloc((4 - (records.length % 4)) % 4)]);
  const footer = Buffer.alloc(12);
  footer.writeUInt32LE((padded.length + 4) / 4 - 1, 4);
  flags.copy(footer, 8);
  footer.write('YZ', 10);
  footer.writeUInt32LE(crc32(footer.subarray(4, 10), 0), 0);
  const check = Buffer.alloc(4);
  check.writeUInt32LE(crc32(padded, 0));
  return Buffer.concat([padded, check, footer]);
}

/** Section 1.2. */
function encoded(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) + 0x80);
  return [...bytes, rest];
}

/** The sizes of blocks, in bounded memory. */
class Sizes {
  readonly #hash = createHash('sha256');
  count = 0;

  add({ unpaddedBytes, contentBytes }: BlockSize): void {
    this.#hash.update(`${unpaddedBytes} ${contentBytes}\n`);
    this.count++;
  }

  equals(other: Sizes): boolean {
    return this.count === other.count && this.#hash.digest().equals(other.#hash.digest());
  }
}

/** Sections 4 and 2.1.2. */
async function readIndex(reader: SourceReader, sizes: Sizes, flags: Buffer): Promise<void> {
  let [lengthBytes, checksum] = [0, 0];
  const take = async (count: number) => {
    const bytes = await taken(reader, count);
    lengthBytes += count;
    checksum = crc32(bytes, checksum);
    return bytes;
  };
  const number = async () => {
    let value = 0;
    for (let i = 0; i < 9; i++) {
      const byte = (await take(1))[0] ?? 0;
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return value;
    }
    throw isDamaged(reader);
  };
  await take(1);
  if ((await number()) !== sizes.count) throw isDamaged(reader);
  const listed = new Sizes();
  while (listed.count < sizes.count) listed.add({ unpaddedBytes: await number(), contentBytes: await number() });
  if (!sizes.equals(listed)) throw isDamaged(reader);
  const padding = await take((4 - (lengthBytes % 4)) % 4);
  const expected = checksum;
  const isWhole = padding.every((byte) => byte === 0) && (await taken(reader, 4)).readUInt32LE(0) === expected;
  const footer = await taken(reader, 12);
  const isFooter =
    footer.readUInt32LE(0) === crc32(footer.subarray(4, 10), 0) &&
    footer.readUInt32LE(4) === (lengthBytes + 4) / 4 - 1 &&
    footer.subarray(8, 10).equals(flags) &&
    footer.toString('latin1', 10) === 'YZ';
  if (!isWhole || !isFooter) throw isDamaged(reader);
}

async function taken(reader: SourceReader, length: number): Promise<Buffer> {
  const bytes = await reader.take(length);
  if (bytes.length < length) throw ends(reader);
  return bytes;
}

function firstOf(bytes: Buffer, reader: SourceReader): number {
  const [first] = bytes;
  if (first === undefined) throw ends(reader);
  return first;
}

function ends(reader: SourceReader): DecompressError {
  return damaged('xz', 'the file ends unexpectedly', reader.positionBytes);
}

function isDamaged(reader: SourceReader): DecompressError {
  return damaged('xz', 'it is damaged', reader.positionBytes);
}
