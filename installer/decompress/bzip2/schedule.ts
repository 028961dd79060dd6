import type { Pieces, StoredPiece } from './pieces.ts';
import type { Pool, Run } from './pool.ts';

/** Limit for what an odd encoder may make (a block's header has no upper limit). */
const longestBlockBytes = 32 * 1024 * 1024;

/**
 * Hands pieces to the pool as they are read, ahead of the reader. Each worker guesses where in its piece the first block begins; when
 * the reader, who knows where the block before it ended, finds a guess wrong, it lets everything start again from there.
 */
export class Schedule {
  readonly #pieces: Pieces;
  readonly #pool: Pool;
  readonly #runs = new Map<number, Run>();
  #next = 0;
  /** Bit of the file where the next piece's first block begins, if that is known. */
  #knownBit: number | undefined;
  /** A worker gets this much of what follows its piece, because its last block extends there. */
  readonly #usualOverlapBytes: number;
  #overlapBytes: number;
  /** The block that was longer than that, and what its worker was given. */
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
    // Those that are done, too: their buffers would be missing at the workers for good.
    for (const run of this.#runs.values()) run.abandon();
    this.#runs.clear();
    this.#next = this.pieceAt(bit);
    this.#knownBit = bit;
    this.dispatch();
  }

  /** Decodes from a bit again, because the worker was not given the whole of what begins there. */
  restartWithMore(bit: number): void {
    const before = bit === this.#longBlock.bit ? this.#longBlock.overlapBytes : this.#usualOverlapBytes;
    this.#overlapBytes = before * 4;
    if (this.#overlapBytes > longestBlockBytes) throw new RangeError(`it is longer than ${longestBlockBytes} bytes`);
    this.#longBlock = { bit, overlapBytes: this.#overlapBytes };
    this.#pieces.limit = Math.max(this.#pieces.limit, this.#piecesNeeded() + 1);
    this.restart(bit);
  }

  /** Starts what can be started: called whenever a piece was read or a worker became free. */
  dispatch(): void {
    try {
      while (this.#pool.hasRoom && this.#startNext());
    } catch (error) {
      this.#failure = error;
    }
    this.#wake?.();
  }

  /** Waits until the piece is being decoded in which the block at `bit` of the file begins; gives up those before it. */
  async run(bit: number, signal: AbortSignal | undefined): Promise<Run> {
    const index = this.pieceAt(bit);
    for (const [other, run] of this.#runs) {
      if (other >= index) continue;
      run.abandon();
      this.#runs.delete(other);
    }
    if (this.#next < index) {
      // A block extends over pieces that were not even started.
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

  /** A piece and as much as is wanted of those after it. */
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
