import { decodeStatus, expanded, type Kernel, outputBytes, zeroRunBytes } from './kernel.ts';
import { blockMagic, endMagic, findMagic, magicBits } from './magic.ts';
import { BlocksOfStream, type BlocksSummary, InvalidStreamError, Stream } from './stream.ts';

/**
 * A part of the compressed file, decoded by one worker. Bits count from the beginning of the bytes
 * loaded into the kernel.
 */
export interface Piece {
  /** Loaded bytes: the piece itself and what follows, because its last block extends beyond it. */
  readonly loadedBytes: number;
  /**
   * Bit where a block, or the end of a stream, begins; or 'search', to start at the first bit that
   * looks like one.
   */
  readonly start: number | 'search';
  /** Everything that begins before this bit is decoded. */
  readonly endBit: number;
  /** Whether the loaded bytes end with the file. */
  readonly last: boolean;
}

/** What a piece contains, in order. */
export type PieceEvent =
  | { readonly kind: 'start'; readonly bit: number }
  | { readonly kind: 'data'; readonly buffer: ArrayBuffer; readonly lengthBytes: number }
  | { readonly kind: 'zero'; readonly lengthBytes: number }
  /** The blocks of the stream that began before the piece; each has the stored checksum. */
  | { readonly kind: 'blocks'; readonly blocks: BlocksSummary }
  /** The end of that stream. */
  | { readonly kind: 'end of stream'; readonly bit: number; readonly crc: number }
  /** The stream that began in the piece and goes on after it, with its blocks so far. */
  | { readonly kind: 'stream'; readonly level: number; readonly blocks: BlocksSummary }
  /** The piece is done, and the next one begins at `bit`. */
  | { readonly kind: 'done'; readonly bit: number }
  /** Nothing in the piece looks like the beginning of a block. */
  | { readonly kind: 'nothing found' }
  /** The loaded bytes do not contain the whole of what begins at `bit`. */
  | { readonly kind: 'cut'; readonly bit: number }
  | { readonly kind: 'end of file'; readonly bit: number }
  | { readonly kind: 'invalid'; readonly bit: number; readonly reason: string };

/** Receives decoded bytes; `buffer` waits until the reader returns one. */
export interface PieceSink {
  /** A buffer of `outputBytes`. */
  buffer(): Promise<ArrayBuffer>;
  /** Takes back a buffer that was not sent. */
  giveBack(buffer: ArrayBuffer): void;
  send(event: PieceEvent): void;
}

/** A block in a lane, and the number of equal blocks after it. */
interface Batched {
  readonly bit: number;
  readonly bits: number;
  count: number;
}

/**
 * A block this short may be compared with the next one before decoding it; a block of zeroes has
 * less than 400 bits.
 */
const shortBlockBits = 2048;

/**
 * Streams that lie within the piece are checked here, and short blocks are sent together: a piece
 * may consist of some hundred thousand of them.
 */
export class PieceDecoder {
  readonly #kernel: Kernel;
  readonly #sink: PieceSink;
  #batch: Batched[] = [];
  /** Undefined: it began before the piece. */
  #stream: Stream | undefined;
  #blocksBefore = new BlocksOfStream();
  /** Decoded and not sent. */
  #buffer: ArrayBuffer | undefined;
  #filled = 0;
  /** Zeroes after what is in the buffer. */
  #zeroes = 0;

  constructor(kernel: Kernel, sink: PieceSink) {
    this.#kernel = kernel;
    this.#sink = sink;
  }

  /**
   * Decodes the piece whose bytes are in the kernel's input. The last event sent is one of those
   * without data after them. Can be called once.
   */
  async decode(piece: Piece): Promise<void> {
    const kernel = this.#kernel;
    const start = piece.start === 'search' ? findMagic(kernel.input, piece.loadedBytes, 0, piece.endBit) : piece.start;
    if (start < 0) return this.#sink.send({ kind: 'nothing found' });
    kernel.load(piece.loadedBytes);
    this.#sink.send({ kind: 'start', bit: start });
    try {
      const end = await this.#decodeFrom(start, piece);
      await this.#deliver();
      await this.#sendZeroes();
      this.#sendData();
      const stream = this.#stream;
      if (stream === undefined) this.#sink.send({ kind: 'blocks', blocks: this.#blocksBefore.summary });
      else this.#sink.send({ kind: 'stream', level: stream.level, blocks: stream.blocks });
      this.#sink.send(end);
    } catch (error) {
      if (!(error instanceof InvalidBlockError || error instanceof InvalidStreamError)) throw error;
      this.#sink.send({ kind: 'invalid', bit: error.bit, reason: error.message });
    } finally {
      if (this.#buffer !== undefined) this.#sink.giveBack(this.#buffer);
    }
  }

  async #decodeFrom(start: number, piece: Piece): Promise<PieceEvent> {
    const kernel = this.#kernel;
    const loadedBits = piece.loadedBytes * 8;
    let bit = start;
    while (bit < piece.endBit) {
      if (bit + magicBits + 32 > loadedBits) return this.#cut(bit, piece);
      const high = kernel.read24(bit);
      const low = kernel.read24(bit + 24);
      if (high === blockMagic[0] && low === blockMagic[1]) {
        const previous = this.#batch.at(-1);
        if (previous && previous.bits <= shortBlockBits && kernel.same(previous.bit, bit, previous.bits)) {
          previous.count++;
          bit += previous.bits;
          continue;
        }
        if (this.#batch.length === kernel.lanes) await this.#deliver();
        const lane = this.#batch.length;
        const found = kernel.decode(lane, bit);
        if (found === decodeStatus.cut) return this.#cut(bit, piece);
        if (found !== decodeStatus.ok) return { kind: 'invalid', bit, reason: reasons[found] ?? 'it is damaged' };
        this.#batch.push({ bit, bits: kernel.endBit(lane) - bit, count: 1 });
        bit = kernel.endBit(lane);
      } else if (high === endMagic[0] && low === endMagic[1]) {
        if (this.#batch.length > 0) await this.#deliver();
        const crc = kernel.read24(bit + magicBits) * 256 + (kernel.read24(bit + magicBits + 24) >>> 16);
        const header = Math.ceil((bit + magicBits + 32) / 8) * 8;
        const level = this.#streamHeader(header, loadedBits);
        if (level === 'cut' && !piece.last) return { kind: 'cut', bit };
        this.#endStream(bit, crc);
        if (level === 'cut' && header < loadedBits) return this.#cut(header, piece);
        if (typeof level === 'string') return { kind: 'end of file', bit: header };
        this.#stream = new Stream(level);
        bit = header + 32;
      } else {
        return { kind: 'invalid', bit, reason: 'there is no block header and no end of stream' };
      }
    }
    return bit === loadedBits ? this.#cut(bit, piece) : { kind: 'done', bit };
  }

  /**
   * Reads the four bytes `BZh1` to `BZh9` that begin a further stream; anything else after a stream
   * is ignored, as bzip2 does.
   */
  #streamHeader(bit: number, loadedBits: number): number | 'none' | 'cut' {
    const header = this.#kernel.read24(bit) * 256 + (this.#kernel.read24(bit + 24) >>> 16);
    for (let byte = 0; byte < 4; byte++) {
      if (bit + byte * 8 >= loadedBits) return 'cut';
      const is = (header >>> (24 - byte * 8)) & 255;
      const [least, most] = [
        [0x42, 0x42],
        [0x5a, 0x5a],
        [0x68, 0x68],
        [0x31, 0x39],
      ][byte] as [number, number];
      if (is < least || is > most) return 'none';
    }
    return (header & 255) - 0x30;
  }

  #endStream(bit: number, crc: number): void {
    if (this.#stream !== undefined) {
      this.#stream.end(bit, crc);
    } else {
      this.#sink.send({ kind: 'blocks', blocks: this.#blocksBefore.summary });
      this.#sink.send({ kind: 'end of stream', bit, crc });
    }
  }

  #cut(bit: number, piece: Piece): PieceEvent {
    return piece.last ? { kind: 'invalid', bit, reason: 'the file ends unexpectedly' } : { kind: 'cut', bit };
  }

  /** Delivers the blocks in the lanes. */
  async #deliver(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    this.#kernel.invert(batch.length);
    for (const [lane, block] of batch.entries()) {
      const zeroes = await this.#expand(lane, block);
      if (zeroes === undefined) for (let i = 1; i < block.count; i++) await this.#expand(lane, block);
      else this.#zeroes += zeroes * block.count;
      const blocks = {
        bit: block.bit,
        count: block.count,
        crc: this.#kernel.storedCrc(lane),
        length: this.#kernel.blockLength(lane),
      };
      (this.#stream ?? this.#blocksBefore).add(blocks);
    }
  }

  /** Stores the bytes of a block. Of a block of zeroes it returns their number instead. */
  async #expand(lane: number, block: Batched): Promise<number | undefined> {
    const kernel = this.#kernel;
    kernel.rewind(lane);
    let heldZeroes = 0;
    let onlyZeroes = true;
    for (;;) {
      const length = kernel.expand(lane);
      if (length === expanded.unfinishedRun) throw new InvalidBlockError(block.bit, 'it ends within a run');
      if (length === expanded.blockEnd) break;
      if (length < 0) {
        heldZeroes -= length;
        continue;
      }
      if (onlyZeroes && isZero(kernel.output, length)) {
        heldZeroes += length;
        continue;
      }
      onlyZeroes = false;
      this.#zeroes += heldZeroes;
      heldZeroes = 0;
      await this.#sendZeroes();
      await this.#store(kernel.output.subarray(0, length));
    }
    if (kernel.crc(lane) !== kernel.storedCrc(lane)) throw new InvalidBlockError(block.bit, 'its checksum is wrong');
    if (onlyZeroes) return heldZeroes;
    this.#zeroes += heldZeroes;
    return undefined;
  }

  /** Few zeroes go with the data. */
  async #sendZeroes(): Promise<void> {
    const zeroes = this.#zeroes;
    this.#zeroes = 0;
    if (zeroes >= zeroRunBytes) {
      this.#sendData();
      this.#sink.send({ kind: 'zero', lengthBytes: zeroes });
    } else if (zeroes > 0) {
      await this.#store(fewZeroes.subarray(0, zeroes));
    }
  }

  /** @param bytes at most `outputBytes` */
  async #store(bytes: Uint8Array): Promise<void> {
    if (this.#filled + bytes.length > outputBytes) this.#sendData();
    this.#buffer ??= await this.#sink.buffer();
    new Uint8Array(this.#buffer).set(bytes, this.#filled);
    this.#filled += bytes.length;
  }

  #sendData(): void {
    const buffer = this.#buffer;
    if (buffer === undefined) return;
    this.#sink.send({ kind: 'data', buffer, lengthBytes: this.#filled });
    this.#buffer = undefined;
    this.#filled = 0;
  }
}

const fewZeroes = new Uint8Array(zeroRunBytes);

class InvalidBlockError extends Error {
  readonly bit: number;

  constructor(bit: number, reason: string) {
    super(reason);
    this.bit = bit;
  }
}

function isZero(bytes: Uint8Array, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[i] !== 0) return false;
  return true;
}

const reasons: Record<number, string> = {
  [decodeStatus.noSymbols]: 'it uses no byte at all',
  [decodeStatus.badGroupCount]: 'it has an impossible number of tables',
  [decodeStatus.badSelector]: 'it selects a table that is not there',
  [decodeStatus.badCodeLength]: 'it has a code of impossible length',
  [decodeStatus.badCode]: 'it has a code without meaning',
  [decodeStatus.tooLong]: 'it is longer than a block may be',
  [decodeStatus.badOrigin]: 'its first byte is outside of it',
};
