/** A part of the compressed file, in memory that the decoding threads share. */
export interface StoredPiece {
  readonly memory: SharedArrayBuffer;
  readonly lengthBytes: number;
  readonly last: boolean;
}

/** State of reading. */
type PiecesState =
  /** Pieces are read and kept, up to the limit. */
  | { readonly kind: 'keeping' }
  /** The rest is read and dropped. */
  | { readonly kind: 'discarding' }
  /** The source was read to its end. */
  | { readonly kind: 'ended' }
  /** No more is needed; the source may never deliver another byte. */
  | { readonly kind: 'stopped' }
  | { readonly kind: 'failed'; readonly error: unknown };

/**
 * Reads a file into pieces of equal length (but the last) and keeps those that are still needed, a
 * limited number of them.
 */
export class Pieces {
  readonly pieceBytes: number;
  /** Maximum number of pieces kept; reading waits at this number. May be raised. */
  limit: number;
  /** Called when there is a new piece, or reading failed. */
  onChange: () => void = () => undefined;
  readonly #kept: StoredPiece[] = [];
  #firstKept = 0;
  readonly #free: SharedArrayBuffer[] = [];
  #sizeBytes = 0;
  #state: PiecesState = { kind: 'keeping' };
  #onStop: () => void = () => undefined;
  #roomMade: (() => void) | undefined;

  constructor(pieceBytes: number, limit: number) {
    this.pieceBytes = pieceBytes;
    this.limit = limit;
  }

  /** Bytes read so far. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /**
   * The piece and those after it: `count` pieces, fewer only where the file ends. Undefined while
   * they are not read yet.
   */
  from(index: number, count: number): StoredPiece[] | undefined {
    if (this.#state.kind === 'failed') throw this.#state.error;
    const found = this.#kept.slice(index - this.#firstKept, index - this.#firstKept + count);
    return found.length === count || this.#state.kind === 'ended' ? found : undefined;
  }

  releaseBefore(index: number): void {
    while (this.#firstKept < index && this.#kept.length > 0) {
      this.#free.push((this.#kept.shift() as StoredPiece).memory);
      this.#firstKept++;
    }
    this.#roomMade?.();
  }

  /** Drops everything from here on, but reads to the end. */
  discard(): void {
    if (this.#isKeeping) this.#state = { kind: 'discarding' };
    this.#roomMade?.();
  }

  /** Makes `read` return, even if the source never delivers another byte. */
  stop(): void {
    if (!this.#isDone) this.#state = { kind: 'stopped' };
    this.#onStop();
    this.#roomMade?.();
  }

  /** Reads the source to its end; `from` throws its failures. */
  async read(source: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      await this.#read(source);
    } catch (error) {
      this.#state = { kind: 'failed', error };
    }
    this.onChange();
  }

  async #read(source: AsyncIterable<Uint8Array>): Promise<void> {
    let memory = this.#memory();
    let filled = 0;
    for await (const chunk of this.#untilStopped(source)) {
      this.#sizeBytes += chunk.length;
      for (let rest = chunk; rest.length > 0 && this.#isKeeping; ) {
        // Only a further byte shows that a full piece is not the last one.
        if (filled === this.pieceBytes) {
          await this.#keep({ memory, lengthBytes: filled, last: false });
          memory = this.#memory();
          filled = 0;
        }
        const taken = rest.subarray(0, this.pieceBytes - filled);
        new Uint8Array(memory).set(taken, filled);
        filled += taken.length;
        rest = rest.subarray(taken.length);
      }
    }
    if (this.#isStopped) return;
    await this.#keep({ memory, lengthBytes: filled, last: true });
    if (!this.#isStopped) this.#state = { kind: 'ended' };
  }

  async *#untilStopped(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const iterator = source[Symbol.asyncIterator]();
    while (!this.#isStopped) {
      // Promise.race with a long-lived promise would keep every chunk in memory.
      const next = await new Promise<IteratorResult<Uint8Array> | 'stopped'>((resolve, reject) => {
        this.#onStop = () => resolve('stopped');
        iterator.next().then(resolve, reject);
      });
      if (next === 'stopped') break;
      if (next.done) return;
      yield next.value;
    }
    // Not awaited: a generator that waits for its next byte ends only after that.
    iterator.return?.()?.catch(() => undefined);
  }

  async #keep(piece: StoredPiece): Promise<void> {
    while (this.#kept.length >= this.limit && this.#isKeeping) {
      await new Promise<void>((resolve) => {
        this.#roomMade = resolve;
      });
    }
    this.#kept.push(piece);
    this.onChange();
  }

  get #isKeeping(): boolean {
    return this.#state.kind === 'keeping';
  }

  get #isStopped(): boolean {
    return this.#state.kind === 'stopped';
  }

  /** Reading has ended by itself, not by `stop`. */
  get #isDone(): boolean {
    return this.#state.kind === 'ended' || this.#state.kind === 'failed';
  }

  #memory(): SharedArrayBuffer {
    return this.#free.pop() ?? new SharedArrayBuffer(this.pieceBytes);
  }
}
