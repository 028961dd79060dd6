import { availableParallelism } from 'node:os';
import type { Extent } from '../../extent.ts';
import { DecompressError, hintOfDamage } from '../error.ts';
import type { DecodingWorker } from '../threads/messages.ts';
import { Pool } from '../threads/pool.ts';
import { trailingWarning } from '../trailing.ts';
import type { PieceEvent } from './piece.ts';
import { Pieces } from './pieces.ts';
import { Schedule } from './schedule.ts';
import { startWorker } from './start-worker.ts';
import { InvalidStreamError, Stream } from './stream.ts';
import { hasSimd } from './wasm-kernel.ts';
import type { WorkerSettings } from './worker-settings.ts';

export interface Bzip2Options {
  readonly signal?: AbortSignal;
  /** Threads. Default: one for each core, fewer if memory is short. */
  readonly workers?: number;
  readonly onWarning?: (message: string) => void;
  /** Decoder of blocks. Default: WebAssembly if it has SIMD. */
  readonly kernel?: 'wasm' | 'typescript';
  /**
   * Compressed bytes that a thread gets at once. Default: enough to fill its lanes if the content
   * is incompressible.
   */
  readonly pieceBytes?: number;
  /**
   * Compressed bytes after its piece that a thread also gets. Default: the part of the last block
   * that may be there.
   */
  readonly overlapBytes?: number;
  /** Starts a worker. Default: a thread. */
  readonly startWorker?: (settings: WorkerSettings) => DecodingWorker;
}

/** Blocks that a thread decodes together. */
const lanes = 4;
/** A little less than four incompressible blocks of the highest level. */
const usualPieceBytes = 3 * 1024 * 1024;
/**
 * A block of incompressible bytes is hardly longer than this. If one is, its piece is decoded again
 * with more.
 */
const usualOverlapBytes = 1024 * 1024;
/** Approximate memory of one thread with its share of pieces and buffers. */
const workerBytes = 64 * 1024 * 1024;
const buffersPerWorker = 4;

/**
 * Decodes a bzip2 file with several threads: concatenated streams, all levels, randomised blocks.
 * Data after the last stream is ignored with a warning, as by the bzip2 program. Extents are
 * blocks, or parts of them.
 *
 * The file is split into pieces of equal size. Blocks begin at any bit, so each thread searches for
 * the first one in its piece. The result of a piece counts only if it begins at exactly the bit
 * where the previous one ended, so a wrong guess costs time, not correctness. Checksums of blocks
 * and streams are verified.
 *
 * @throws {DecompressError} with the offset of the block that cannot be decoded
 */
export async function* bzip2(source: AsyncIterable<Uint8Array>, options: Bzip2Options = {}): AsyncGenerator<Extent> {
  const workers = options.workers ?? suitableWorkers();
  const pieceBytes = options.pieceBytes ?? usualPieceBytes;
  const overlapBytes = options.overlapBytes ?? usualOverlapBytes;
  const pieces = new Pieces(pieceBytes, 2 * workers + 2);
  const reading = pieces.read(source);
  try {
    const settings = {
      kernel: options.kernel ?? (hasSimd() ? 'wasm' : 'typescript'),
      lanes,
      inputBytes: pieceBytes + overlapBytes,
      buffers: buffersPerWorker,
    };
    let schedule: Schedule | undefined;
    const dispatch = () => schedule?.dispatch();
    await using pool = new Pool(workers, () => (options.startWorker ?? startWorker)(settings), dispatch);
    schedule = new Schedule(pieces, pool, overlapBytes);
    pieces.onChange = dispatch;
    const endBit = yield* joined(pieces, schedule, options.signal);
    pieces.discard();
    await reading;
    // A failure of the source after the end of the data must be reported, too.
    pieces.from(0, 0);
    const ignored = pieces.sizeBytes - endBit / 8;
    if (ignored > 0) options.onWarning?.(trailingWarning(ignored, 'bzip2'));
  } finally {
    pieces.stop();
    await reading;
  }
}

function suitableWorkers(): number {
  const affordable = Math.floor(process.availableMemory() / 4 / workerBytes);
  return Math.max(1, Math.min(availableParallelism(), affordable));
}

/** The pieces' contents in order; returns the bit where the last stream ends. */
async function* joined(
  pieces: Pieces,
  schedule: Schedule,
  signal: AbortSignal | undefined,
): AsyncGenerator<Extent, number> {
  let stream = new Stream(await firstLevel(pieces, schedule, signal));
  /** Bit of the file where the next block, or the end of the stream, begins. */
  let position = 32;
  schedule.restart(position);
  for (;;) {
    const index = schedule.pieceAt(position);
    const firstBit = index * pieces.pieceBytes * 8;
    const run = await schedule.run(position, signal);
    for (let more = true; more; ) {
      const { event, giveBack } = await run.next(signal);
      more = false;
      switch (event.kind) {
        case 'data':
          yield { kind: 'data', bytes: new Uint8Array(event.buffer, 0, event.lengthBytes), release: giveBack };
          more = true;
          break;
        case 'zero':
          yield event;
          more = true;
          break;
        case 'start':
          if (firstBit + event.bit === position) more = true;
          else schedule.restart(position);
          break;
        case 'nothing found':
          schedule.restart(position);
          break;
        case 'cut':
          position = firstBit + event.bit;
          try {
            schedule.restartWithMore(position);
          } catch (error) {
            throw invalid(position, (error as Error).message);
          }
          break;
        case 'done':
          position = firstBit + event.bit;
          break;
        case 'end of file':
          return firstBit + event.bit;
        case 'invalid':
          throw invalid(firstBit + event.bit, event.reason);
        default:
          stream = checked(stream, event, firstBit);
          more = true;
      }
    }
  }
}

/**
 * Checks what depends on the beginning of the stream, which the threads do not know.
 * @returns the stream that is read after the event
 */
function checked(
  stream: Stream,
  event: Extract<PieceEvent, { kind: 'blocks' | 'end of stream' | 'stream' }>,
  firstBit: number,
): Stream {
  try {
    if (event.kind === 'end of stream') {
      stream.end(event.bit, event.crc);
      return stream;
    }
    const current = event.kind === 'stream' ? new Stream(event.level) : stream;
    current.addSummary(event.blocks);
    return current;
  } catch (error) {
    if (error instanceof InvalidStreamError) throw invalid(firstBit + error.bit, error.message);
    throw error;
  }
}

async function firstLevel(pieces: Pieces, schedule: Schedule, signal: AbortSignal | undefined): Promise<number> {
  const piece = await schedule.piece(0, signal);
  const header = Buffer.from(new Uint8Array(piece.memory, 0, Math.min(4, piece.lengthBytes))).toString('latin1');
  if (!/^BZh[1-9]$/.test(header))
    throw invalid(0, `the file does not begin as a bzip2 file (${pieces.sizeBytes} bytes read)`);
  return Number(header[3]);
}

function invalid(bit: number, reason: string): DecompressError {
  const offsetBytes = Math.floor(bit / 8);
  return new DecompressError(
    `cannot decode the image: the bzip2 data at byte ${offsetBytes} (bit ${bit % 8}) is invalid: ${reason}`,
    { offsetBytes, hint: hintOfDamage },
  );
}
