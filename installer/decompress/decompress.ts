import type { Extent } from '../extent.ts';
import { bzip2 } from './bzip2/bzip2.ts';
import { type Format, formatOf, magicBytes } from './format.ts';
import { gzip } from './gzip.ts';
import { wholePages } from './pages.ts';
import { xz } from './xz/xz.ts';
import { zstd } from './zstd.ts';

export interface DecompressOptions {
  /** Ends decoding; the generator then throws the reason of the signal. */
  readonly signal?: AbortSignal;
  /** Threads that decode bzip2. Default: one for each core, fewer if memory is short. */
  readonly workers?: number;
  /** Largest window of a zstd image, in bytes. Default: 128 MiB. */
  readonly zstdWindowBytes?: number | undefined;
  /** Path or URL of the image; only for what its content does not tell. */
  readonly name?: string;
  /** False: nothing but the checks of the format shows that the image is whole. Default: true. */
  readonly isSigned?: boolean;
  /** Called with the format that was found. */
  readonly onFormat?: (format: Format) => void;
  /** Called with non-fatal warnings, for example about bytes after the end. */
  readonly onWarning?: (message: string) => void;
}

/**
 * Decodes a disk image: bzip2, gzip, xz or zstd, detected by the first bytes, or uncompressed.
 *
 * Extents arrive in order and without gaps, as `wholePages` describes them. The memory of data
 * extents is reused when they are released; a reader may hold several to overlap its writes, each
 * of 1 MiB. The source is read only as fast as extents are read, and to its very end, so that a
 * signature check of the source sees every byte.
 *
 * @throws {DecompressError} the image is damaged, truncated or not a disk image; extents delivered
 *   before are then worthless
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  options: DecompressOptions = {},
): AsyncGenerator<Extent> {
  const { format, bytes } = await sniffed(source, options.name);
  options.onFormat?.(format);
  yield* wholePages(decoded[format](bytes, options));
}

const decoded = {
  bzip2: (bytes: AsyncIterable<Uint8Array>, options: DecompressOptions) => bzip2(bytes, options),
  gzip: (bytes: AsyncIterable<Uint8Array>, { signal, onWarning }: DecompressOptions) => gzip(bytes, signal, onWarning),
  xz: (bytes: AsyncIterable<Uint8Array>, options: DecompressOptions) =>
    xz(bytes, { ...options, requireCheck: options.isSigned === false }),
  zstd: (bytes: AsyncIterable<Uint8Array>, { signal, zstdWindowBytes, onWarning }: DecompressOptions) =>
    zstd(bytes, signal, zstdWindowBytes, onWarning),
  raw: (bytes: AsyncIterable<Uint8Array>, { signal }: DecompressOptions) => raw(bytes, signal),
};

async function* raw(source: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): AsyncGenerator<Extent> {
  for await (const bytes of source) {
    signal?.throwIfAborted();
    yield { kind: 'data', bytes, release() {} };
  }
}

/** Reads the first bytes to detect the format. `bytes` is all of the source. */
async function sniffed(source: AsyncIterable<Uint8Array>, name: string | undefined) {
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
    return { format: formatOf(beginning, name), bytes: bytes() };
  } catch (error) {
    await iterator.return?.();
    throw error;
  }
}
