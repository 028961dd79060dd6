import type { Transform } from 'node:stream';
import { constants, createZstdDecompress, type ZstdOptions, zstdDecompressSync } from 'node:zlib';
import type { Extent } from '../extent.ts';
import { DecompressError, damaged } from './error.ts';
import { SourceReader } from './source-reader.ts';
import { skipTrailing } from './trailing.ts';

const chunkBytes = 1024 * 1024;

/** The decoder keeps as much of its output in memory. The same default as that of `zstd -d`. */
const defaultWindowBytes = 128 * 1024 * 1024;

/**
 * Decodes zstd (RFC 8878), all frames of the file.
 *
 * @param maxWindowBytes largest window of a frame, up to 2 GiB, which `zstd --long=31` makes.
 *   Default: 128 MiB
 */
export async function* zstd(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
  maxWindowBytes = defaultWindowBytes,
  onWarning?: (message: string) => void,
): AsyncGenerator<Extent> {
  const reader = new SourceReader(source);
  try {
    let wasSmall = false;
    for (let isFirst = true; ; isFirst = false) {
      const startBytes = reader.positionBytes;
      const magic = await reader.peek(4);
      if (magic.length === 0) return;
      if (!isFirst && !isZstdFrame(magic)) return await skipTrailing(reader, 'zstd', onWarning);
      const options = zstdOptions(maxWindowBytes);
      const small = wasSmall
        ? await decodeSmall(reader, (chunk) => zstdDecompressSync(chunk, { ...options, ...smallOptions }))
        : undefined;
      if (small === undefined) yield* frames(reader, options, maxWindowBytes, signal);
      else yield { kind: 'data', bytes: small, release() {} };
      signal?.throwIfAborted();
      wasSmall = reader.positionBytes - startBytes <= maxSmallBytes;
    }
  } finally {
    await reader.close();
  }
}

/** A frame, or a skippable frame (RFC 8878, sections 3.1.1 and 3.1.2). */
function isZstdFrame(magic: Buffer): boolean {
  return /^(28b52ffd|5[0-9a-f]2a4d18)/.test(magic.toString('hex'));
}

function zstdOptions(maxWindowBytes: number): ZstdOptions {
  return {
    chunkSize: chunkBytes,
    params: { [constants.ZSTD_d_windowLogMax]: Math.floor(Math.log2(maxWindowBytes)) },
  };
}

/** A decoder in steps costs as much as some hundred kB of data. */
const maxSmallBytes = 128 * 1024;
const smallOptions = { info: true, chunkSize: 16 * 1024, maxOutputLength: chunkBytes };

/**
 * Decodes a frame that has arrived whole at once: of tiny ones there may be a million.
 * @returns `undefined`: it has not, is larger, or damaged; nothing is taken from the reader then
 */
async function decodeSmall(reader: SourceReader, decode: (chunk: Buffer) => Buffer): Promise<Buffer | undefined> {
  const chunk = await reader.next();
  if (chunk === undefined) return undefined;
  try {
    // With `info` Node returns more than its types have.
    const { buffer, engine } = decode(chunk) as unknown as { buffer: Buffer; engine: { bytesWritten: number } };
    reader.giveBack(chunk.subarray(engine.bytesWritten));
    return buffer;
  } catch {
    // Decoding in steps says what is wrong.
    reader.giveBack(chunk);
    return undefined;
  }
}

/** Frames until one ends within what has arrived. */
async function* frames(
  reader: SourceReader,
  options: ZstdOptions,
  maxWindowBytes: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Extent> {
  const frame = new Frame(createZstdDecompress(options), (failure) => explained(failure, maxWindowBytes, reader));
  try {
    for (;;) {
      signal?.throwIfAborted();
      const chunk = await reader.next();
      if (chunk === undefined) return yield* frame.end();
      try {
        yield* frame.decode(chunk);
      } catch (error) {
        // The last frame ended with the chunk before, and this one is no frame.
        if (!isUnknownFrame(error) || frame.takenBytes !== frame.givenBytes - chunk.length) throw error;
        return reader.giveBack(chunk);
      }
      if (frame.leftBytes > 0) return reader.giveBack(chunk.subarray(chunk.length - frame.leftBytes));
    }
  } finally {
    frame.destroy();
  }
}

function isUnknownFrame(error: unknown): boolean {
  const cause = error instanceof DecompressError ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause && cause.code === 'ZSTD_error_prefix_unknown';
}

function explained(failure: Error, maxWindowBytes: number, reader: SourceReader): DecompressError {
  if (!('code' in failure) || failure.code !== windowTooLarge)
    return damaged('zstd', failure.message, reader.positionBytes, failure);
  const limit = `${Math.floor(maxWindowBytes / 1024 ** 2)} MiB`;
  const hint = 'allow it with --zstd-window 2GiB, or compress the image without --long';
  return new DecompressError(`cannot decode the image: zstd needs a window of more than ${limit} of memory (${hint})`, {
    offsetBytes: reader.positionBytes,
    cause: failure,
  });
}

const windowTooLarge = 'ZSTD_error_frameParameter_windowTooLarge';

/**
 * A decoder of Node. It stops at the end of a frame if data follows in the same chunk; else that of
 * zstd continues with the next frame, and that of deflate stops at the next chunk.
 */
class Frame {
  readonly #decoder: Transform & { readonly bytesWritten: number };
  readonly #explain: (failure: Error) => DecompressError;
  #givenBytes = 0;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #ended = false;

  constructor(decoder: Transform & { readonly bytesWritten: number }, explain: (failure: Error) => DecompressError) {
    this.#decoder = decoder;
    this.#explain = explain;
    const wake = () => this.#wake?.();
    this.#decoder.on('readable', wake);
    this.#decoder.on('end', () => {
      this.#ended = true;
      wake();
    });
    this.#decoder.on('error', (error) => {
      this.#failure = error;
      wake();
    });
  }

  get givenBytes(): number {
    return this.#givenBytes;
  }

  get takenBytes(): number {
    return this.#decoder.bytesWritten;
  }

  /** Number of input bytes after the frame. */
  get leftBytes(): number {
    return this.#givenBytes - this.#decoder.bytesWritten;
  }

  /** Whether something has come after the end of the frame. */
  get hasEnded(): boolean {
    return this.leftBytes > 0;
  }

  async *decode(chunk: Uint8Array): AsyncGenerator<Extent> {
    this.#givenBytes += chunk.length;
    let written = false;
    this.#decoder.write(chunk, () => {
      written = true;
      this.#wake?.();
    });
    yield* this.#outputUntil(() => written);
  }

  async *end(): AsyncGenerator<Extent> {
    if (this.#givenBytes === 0) return;
    this.#decoder.end();
    yield* this.#outputUntil(() => this.#ended);
  }

  destroy(): void {
    this.#decoder.destroy();
  }

  /** The output of the decoder until `done()`, which one of its events makes true. */
  async *#outputUntil(done: () => boolean): AsyncGenerator<Extent> {
    for (let last = false; !last; ) {
      last = done();
      for (let bytes = this.#decoder.read(); bytes; bytes = this.#decoder.read()) {
        yield { kind: 'data', bytes, release() {} };
      }
      if (this.#failure) throw this.#explain(this.#failure);
      const woken = Promise.withResolvers<void>();
      this.#wake = woken.resolve;
      if (!last && !done()) await woken.promise;
    }
  }
}
