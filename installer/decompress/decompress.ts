import type { Extent } from '../extent.ts';
import { bzip2 } from './bzip2/bzip2.ts';
import { formatOf, magicBytes } from './format.ts';
import { wholePages } from './pages.ts';
import { xz } from './xz.ts';
import { gzip, zstd } from './zlib.ts';

export interface DecompressOptions {
  /** Ends decoding; the generator then throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Threads that decode bzip2. Default: as many as there are cores, fewer where memory is short. */
  readonly workers?: number;
  /** Told, in a sentence, of what is odd about the file without making it invalid (such as bytes after its end). */
  readonly onWarning?: (message: string) => void;
}

/**
 * Decodes a disk image: bzip2, gzip, xz or zstd, told by the first bytes, or the image itself.
 *
 * Extents come in order and without gaps, as `wholePages` describes them. The memory of data extents is recycled when they are released;
 * a reader may hold several to overlap its writes, and pays 1 MiB for each. The source is read only as fast as extents are taken, and to
 * its very end, so that what listens in on it (a signature check) sees every byte.
 *
 * @throws {DecompressError} when the image is damaged, cut short or not a disk image; the bytes handed on before are then worthless.
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  options: DecompressOptions = {},
): AsyncGenerator<Extent> {
  const { format, bytes } = await sniffed(source);
  yield* wholePages(decoded[format](bytes, options));
}

const decoded = {
  bzip2: (bytes: AsyncIterable<Uint8Array>, options: DecompressOptions) => bzip2(bytes, options),
  gzip: (bytes: AsyncIterable<Uint8Array>, { signal }: DecompressOptions) => gzip(bytes, signal),
  xz: (bytes: AsyncIterable<Uint8Array>, { signal }: DecompressOptions) => xz(bytes, signal),
  zstd: (bytes: AsyncIterable<Uint8Array>, { signal }: DecompressOptions) => zstd(bytes, signal),
  raw: (bytes: AsyncIterable<Uint8Array>, { signal }: DecompressOptions) => raw(bytes, signal),
};

async function* raw(source: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): AsyncGenerator<Extent> {
  for await (const bytes of source) {
    signal?.throwIfAborted();
    yield { kind: 'data', bytes, release() {} };
  }
}

/** Reads as much as tells the format, and gives the source back whole. */
async function sniffed(source: AsyncIterable<Uint8Array>) {
  const iterator = source[Symbol.asyncIterator]();
  let beginning = Buffer.alloc(0);
  for (;;) {
    const next = beginning.length < magicBytes ? await iterator.next() : undefined;
    if (!next || next.done) break;
    beginning = Buffer.concat([beginning, next.value]);
  }
  const bytes = async function* () {
    try {
      if (beginning.length > 0) yield beginning;
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
    } finally {
      await iterator.return?.();
    }
  };
  try {
    return { format: formatOf(beginning), bytes: bytes() };
  } catch (error) {
    await iterator.return?.();
    throw error;
  }
}
