import type { Image } from './fetch.ts';
import { OutOfOrderError, type StreamedImage } from './random-access.ts';

/** What a stream keeps of the bytes that it has passed, in bytes. */
export const streamWindowBytes = 32 * 1024 * 1024;

/**
 * Reads a stream as far as its order allows: the last {@link streamWindowBytes} that have arrived
 * can be read again.
 */
export function streamAccess(image: Image): StreamedImage {
  return new StreamAccess(image);
}

class StreamAccess implements StreamedImage {
  readonly origin: string;
  readonly sizeBytes: number | undefined;
  readonly isSequential = true;
  readonly #image: Image;
  readonly #iterator: AsyncIterator<Uint8Array>;
  /** What has arrived last, without gaps. */
  #kept: Uint8Array[] = [];
  #keptStart = 0;
  #position = 0;
  #hasEnded = false;
  /** Settles when all reads that were begun have ended. */
  #idle: Promise<void> = Promise.resolve();

  constructor(image: Image) {
    this.origin = image.origin;
    this.sizeBytes = image.sizeBytes;
    this.#image = image;
    this.#iterator = image.bytes[Symbol.asyncIterator]();
  }

  async *read(offsetBytes: number, lengthBytes: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const before = this.#idle;
    const done = Promise.withResolvers<void>();
    this.#idle = done.promise;
    try {
      await before;
      signal.throwIfAborted();
      yield* this.#readNow(offsetBytes, offsetBytes + lengthBytes, signal);
    } finally {
      done.resolve();
    }
  }

  async finish(signal: AbortSignal): Promise<void> {
    await this.#idle;
    this.#forget();
    while ((await this.#next()) !== undefined) signal.throwIfAborted();
  }

  [Symbol.dispose](): void {
    this.#image[Symbol.dispose]();
  }

  async *#readNow(startBytes: number, endBytes: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    if (startBytes < this.#keptStart)
      throw new OutOfOrderError(`byte ${startBytes} is needed after byte ${this.#position}`);
    let chunkStart = this.#keptStart;
    const kept = this.#kept;
    if (endBytes === Infinity) this.#forget();
    for (const chunk of kept) {
      const wanted = chunk.subarray(Math.max(0, startBytes - chunkStart), Math.max(0, endBytes - chunkStart));
      chunkStart += chunk.length;
      if (wanted.length > 0) yield wanted;
    }
    while (this.#position < endBytes) {
      const start = this.#position;
      const chunk = await this.#next();
      if (chunk === undefined) return;
      signal.throwIfAborted();
      if (endBytes === Infinity) this.#forget();
      else this.#keep(chunk);
      const wanted = chunk.subarray(Math.max(0, startBytes - start), endBytes - start);
      if (wanted.length > 0) yield wanted;
    }
  }

  async #next(): Promise<Uint8Array | undefined> {
    if (this.#hasEnded) return undefined;
    const next = await this.#iterator.next();
    if (next.done) {
      this.#hasEnded = true;
      return undefined;
    }
    this.#position += next.value.length;
    return next.value;
  }

  #forget(): void {
    this.#kept = [];
    this.#keptStart = this.#position;
  }

  #keep(chunk: Uint8Array): void {
    this.#kept.push(chunk);
    for (let [oldest] = this.#kept; oldest !== undefined; [oldest] = this.#kept) {
      if (this.#position - this.#keptStart - oldest.length < streamWindowBytes) return;
      this.#kept.shift();
      this.#keptStart += oldest.length;
    }
  }
}
