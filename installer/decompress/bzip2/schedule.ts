import type { JobResults, Pool } from '../threads/pool.ts';
import type { Pieces, StoredPiece } from './pieces.ts';

/** Limit for unusual encoders; the header of a block has no upper limit. */
const maxBlockBytes = 32 * 1024 * 1024;

/**
 * Starts jobs for pieces as they are read, ahead of the reader. Each worker guesses where in its
 * piece the first block begins. The reader knows where the previous block ended; if a guess was
 * wrong, it restarts decoding from there.
 */
export class Schedule {
  readonly #pieces: Pieces;
  readonly #pool: Pool;
  readonly #runs = new Map<number, JobResults>();
  #next = 0;
  /** Bit of the file where the first block of the next piece begins, if known. */
  #knownBit: number | undefined;
  /** A worker also gets this much after its piece, because its last block extends there. */
  readonly #usualOverlapBytes: number;
  #overlapBytes: number;
  /** A block that was longer than that, and the bytes that its worker got. */
  #longBlock = { bit: -1, overlapBytes: 0 };
  #failure: unknown;
  #wake: (() => void) | undefined;

  constructor(pieces: Pieces, pool: Pool, usualOverlapBytes: number) {
    this.#pieces = pieces;
    this.#pool = pool;
    this.#usualOverlapBytes = usualOverlapBytes;
    this.#overlapBytes = usualOverlapBytes;
    pieces.limit = Math.max(pieces.limit, this.#piecesNeeded() + 1);
  }

  /** The piece that contains a bit of the file. */
  pieceAt(bit: number): number {
    return Math.floor(bit / (this.#pieces.pieceBytes * 8));
  }

  /** Decodes from a bit where a block begins. */
  restart(bit: number): void {
    this.#pool.cancel();
    // Also of finished jobs: otherwise their buffers would never return to the workers.
    for (const run of this.#runs.values()) run.abandon();
    this.#runs.clear();
    this.#next = this.pieceAt(bit);
    this.#knownBit = bit;
    this.dispatch();
  }

  /** Decodes from a bit again, because the worker did not get all of the block there. */
  restartWithMore(bit: number): void {
    const before = bit === this.#longBlock.bit ? this.#longBlock.overlapBytes : this.#usualOverlapBytes;
    if (before >= maxBlockBytes) throw new RangeError(`it is longer than ${maxBlockBytes} bytes`);
    this.#overlapBytes = Math.min(before * 4, maxBlockBytes);
    this.#longBlock = { bit, overlapBytes: this.#overlapBytes };
    this.#pieces.limit = Math.max(this.#pieces.limit, this.#piecesNeeded() + 1);
    this.restart(bit);
  }

  /** Starts all jobs that can start. Called when a piece was read or a worker became free. */
  dispatch(): void {
    try {
      while (this.#pool.hasRoom && this.#startNext());
    } catch (error) {
      this.#failure = error;
    }
    this.#wake?.();
  }

  /**
   * Waits until a job decodes the piece in which the block at `bit` of the file begins; drops the
   * pieces before it.
   */
  async run(bit: number, signal: AbortSignal | undefined): Promise<JobResults> {
    const index = this.pieceAt(bit);
    for (const [other, run] of this.#runs) {
      if (other >= index) continue;
      run.abandon();
      this.#runs.delete(other);
    }
    if (this.#next < index) {
      // A block extends over pieces without a job.
      this.#next = index;
      this.#knownBit = bit;
    }
    this.#pieces.releaseBefore(index);
    this.dispatch();
    return await this.#waitFor(() => this.#runs.get(index), signal);
  }

  /** Waits until a piece is read. */
  async piece(index: number, signal: AbortSignal | undefined): Promise<StoredPiece> {
    return await this.#waitFor(() => this.#pieces.from(index, 1)?.[0], signal);
  }

  async #waitFor<T>(get: () => T | undefined, signal: AbortSignal | undefined): Promise<T> {
    for (;;) {
      signal?.throwIfAborted();
      if (this.#failure !== undefined) throw this.#failure;
      const got = get();
      if (got !== undefined) return got;
      const woken = Promise.withResolvers<unknown>();
      this.#wake = () => woken.resolve(undefined);
      signal?.addEventListener('abort', woken.resolve, { once: true });
      await woken.promise;
      signal?.removeEventListener('abort', woken.resolve);
    }
  }

  #piecesNeeded(): number {
    return 1 + Math.ceil(this.#overlapBytes / this.#pieces.pieceBytes);
  }

  #startNext(): boolean {
    const index = this.#next;
    const pieces = this.#pieces.from(index, this.#piecesNeeded());
    const [own] = pieces ?? [];
    if (!pieces || !own) return false;
    const firstBit = index * this.#pieces.pieceBytes * 8;
    const run = this.#pool.start({
      ...this.#parts(pieces, own),
      start: this.#knownBit === undefined ? 'search' : this.#knownBit - firstBit,
      endBit: own.last ? Number.POSITIVE_INFINITY : own.lengthBytes * 8,
    });
    this.#runs.set(index, run);
    this.#next++;
    if (this.#knownBit !== undefined) {
      this.#knownBit = undefined;
      this.#overlapBytes = this.#usualOverlapBytes;
    }
    return true;
  }

  /** A piece and the overlap after it. */
  #parts(pieces: readonly StoredPiece[], own: StoredPiece) {
    let wanted = own.lengthBytes + this.#overlapBytes;
    const parts = [];
    let last = false;
    for (const piece of pieces) {
      const lengthBytes = Math.min(piece.lengthBytes, wanted);
      wanted -= lengthBytes;
      parts.push({ memory: piece.memory, lengthBytes });
      last = piece.last && lengthBytes === piece.lengthBytes;
    }
    return { parts, last };
  }
}
