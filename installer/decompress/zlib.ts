import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createGunzip, createZstdDecompress } from 'node:zlib';
import type { Extent } from '../extent.ts';
import { DecompressError } from './error.ts';

const chunkBytes = 1024 * 1024;

/** Decodes gzip (RFC 1952), all members of the file. */
export function gzip(source: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): AsyncGenerator<Extent> {
  return transformed('gzip', createGunzip({ chunkSize: chunkBytes }), source, signal);
}

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
): AsyncGenerator<Extent> {
  let frame = new ZstdFrame(maxWindowBytes);
  try {
    for await (const chunk of source) {
      for (let rest: Uint8Array = chunk; rest.length > 0; ) {
        signal?.throwIfAborted();
        yield* frame.decode(rest);
        rest = rest.subarray(rest.length - frame.leftBytes);
        if (rest.length === 0) break;
        frame.destroy();
        frame = new ZstdFrame(maxWindowBytes);
      }
    }
    yield* frame.end();
  } finally {
    frame.destroy();
  }
}

/**
 * Node's decoder stops at the end of a frame if data follows in the same chunk; else it continues
 * with the next frame.
 */
class ZstdFrame {
  readonly #decoder: ReturnType<typeof createZstdDecompress>;
  readonly #maxWindowBytes: number;
  #givenBytes = 0;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #ended = false;

  constructor(maxWindowBytes: number) {
    this.#maxWindowBytes = maxWindowBytes;
    this.#decoder = createZstdDecompress({
      chunkSize: chunkBytes,
      params: { [constants.ZSTD_d_windowLogMax]: Math.floor(Math.log2(maxWindowBytes)) },
    });
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

  /** Number of input bytes after the frame. */
  get leftBytes(): number {
    return this.#givenBytes - this.#decoder.bytesWritten;
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

  #explained(failure: Error): DecompressError {
    if (!('code' in failure) || failure.code !== windowTooLarge) return damaged('zstd', failure);
    const limit = `${Math.floor(this.#maxWindowBytes / 1024 ** 2)} MiB`;
    const hint = 'allow it with --zstd-window 2GiB, or compress the image without --long';
    return new DecompressError(
      `cannot decode the image: zstd needs a window of more than ${limit} of memory (${hint})`,
      {
        cause: failure,
      },
    );
  }

  /** The output of the decoder until `done()`, which one of its events makes true. */
  async *#outputUntil(done: () => boolean): AsyncGenerator<Extent> {
    for (let last = false; !last; ) {
      last = done();
      for (let bytes = this.#decoder.read(); bytes; bytes = this.#decoder.read()) {
        yield { kind: 'data', bytes, release() {} };
      }
      if (this.#failure) throw this.#explained(this.#failure);
      const woken = Promise.withResolvers<void>();
      this.#wake = woken.resolve;
      if (!last && !done()) await woken.promise;
    }
  }
}

const windowTooLarge = 'ZSTD_error_frameParameter_windowTooLarge';

function damaged(format: string, cause: Error): DecompressError {
  return new DecompressError(`cannot decode the image as ${format}: ${cause.message}`, { cause });
}

async function* transformed(
  format: string,
  decoder: NodeJS.ReadWriteStream & AsyncIterable<Uint8Array>,
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Extent> {
  const origin = { failure: undefined as unknown };
  const watched = async function* () {
    try {
      yield* source;
    } catch (error) {
      origin.failure = error;
      throw error;
    }
  };
  const finished = pipeline(Readable.from(watched(), { objectMode: false }), decoder, signal ? { signal } : {});
  // Reading the decoder below throws the failure; without this it would also be an unhandled
  // rejection.
  finished.catch(() => undefined);
  try {
    for await (const bytes of decoder) yield { kind: 'data', bytes, release() {} };
    await finished;
  } catch (error) {
    signal?.throwIfAborted();
    if (origin.failure !== undefined) throw origin.failure;
    throw damaged(format, error as Error);
  }
}
