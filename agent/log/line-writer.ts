import type { Writable } from 'node:stream';
import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';

/** Writes lines to a stream whose reader may be slow, stuck or gone, with bounded memory. */
export interface LineWriter extends AsyncDisposable {
  /** Takes a line with its end. Returns at once. */
  write(line: string): void;
  /** Resolves when the caller may write more; `undefined`: at once. Never rejects. */
  ready(): Promise<void> | undefined;
}

export interface LineWriterOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** Called with the number of dropped lines, when the reader reads again. */
  onDropped(count: number): void;
  /**
   * From this amount of buffered text on, {@link LineWriter.ready} waits. In bytes. Default: 64
   * KiB.
   */
  readonly highWaterMarkBytes?: number | undefined;
  /** Lines that do not fit into a buffer of this size are dropped. Default: 1 MiB. */
  readonly maxBufferedBytes?: number | undefined;
  /** Maximum wait for the reader in {@link LineWriter.ready}. Default: 10. */
  readonly readTimeoutSeconds?: number | undefined;
  /** Maximum wait for the reader when the writer is disposed of. Default: 2. */
  readonly drainTimeoutSeconds?: number | undefined;
}

/**
 * What the reader does.
 *
 * - `reading`: it has taken everything.
 * - `behind`: the stream's buffer is full. Callers of `ready()` wait: back-pressure.
 * - `stuck`: it has been behind for longer than the timeout. No caller waits, and lines that do not
 *   fit are dropped, until it has caught up.
 * - `gone`: the stream failed or was closed. Lines are discarded.
 */
type ReaderState = 'reading' | 'behind' | 'stuck' | 'gone';

/** Makes a writer to a stream, which stays the caller's. */
export function createLineWriter(stream: Writable, options: LineWriterOptions): LineWriter {
  return new StreamLineWriter(stream, options);
}

class StreamLineWriter implements LineWriter {
  readonly #stream: Writable;
  readonly #clock: Clock;
  readonly #options: LineWriterOptions;
  readonly #highWaterMarkBytes: number;
  readonly #maxBufferedBytes: number;
  #reader: ReaderState = 'reading';
  /**
   * Lines of this turn of the event loop: one write for all costs a tenth of one write for each.
   */
  #gathered = '';
  #dropped = 0;
  /** Settled when the reader has caught up or is gone. */
  #caughtUp = Promise.withResolvers<void>();
  /** The wait of all callers of {@link ready}. */
  #waiting: Promise<void> | undefined;

  constructor(stream: Writable, options: LineWriterOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#highWaterMarkBytes = options.highWaterMarkBytes ?? 64 * 1024;
    this.#maxBufferedBytes = options.maxBufferedBytes ?? 1024 * 1024;
    // The listener for errors stays: without one an error would end the process.
    stream.on('error', this.#onEnd).on('close', this.#onEnd).on('drain', this.#onDrain);
  }

  write(line: string): void {
    if (this.#reader === 'gone') return;
    if (this.#bufferedBytes() + line.length > this.#maxBufferedBytes) {
      this.#dropped += 1;
      return;
    }
    if (this.#gathered === '') queueMicrotask(() => this.#flush());
    this.#gathered += line;
  }

  ready(): Promise<void> | undefined {
    if (this.#reader === 'gone' || this.#reader === 'stuck') return undefined;
    if (this.#bufferedBytes() < this.#highWaterMarkBytes) return undefined;
    this.#flush();
    if (this.#reader === 'behind') this.#waiting ??= this.#waitForReader();
    return this.#waiting;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#flush();
    const taken = Promise.withResolvers<void>();
    if (this.#reader !== 'gone') {
      this.#stream.write('', () => taken.resolve());
      await this.#settled(taken.promise, this.#options.drainTimeoutSeconds ?? 2);
    }
    this.#stream.off('close', this.#onEnd).off('drain', this.#onDrain);
  }

  readonly #onDrain = () => {
    if (this.#reader === 'gone') return;
    this.#reader = 'reading';
    this.#release();
    const count = this.#dropped;
    this.#dropped = 0;
    if (count > 0) this.#options.onDropped(count);
  };

  readonly #onEnd = () => {
    this.#reader = 'gone';
    this.#release();
  };

  #release(): void {
    this.#caughtUp.resolve();
    this.#caughtUp = Promise.withResolvers();
  }

  #flush(): void {
    const lines = this.#gathered;
    this.#gathered = '';
    if (this.#reader === 'gone' || lines === '') return;
    if (!this.#stream.write(lines) && this.#reader === 'reading') this.#reader = 'behind';
  }

  async #waitForReader(): Promise<void> {
    const isSettled = await this.#settled(this.#caughtUp.promise, this.#options.readTimeoutSeconds ?? 10);
    if (!isSettled && this.#reader === 'behind') this.#reader = 'stuck';
    this.#waiting = undefined;
  }

  /** @returns false after the time limit */
  async #settled(promise: Promise<void>, limitSeconds: number): Promise<boolean> {
    const late = Promise.withResolvers<false>();
    using _ = this.#clock.schedule(limitSeconds, () => late.resolve(false));
    return await Promise.race([promise.then(() => true), late.promise]);
  }

  #bufferedBytes(): number {
    return this.#stream.writableLength + this.#gathered.length;
  }
}
