import type { Extent } from '../extent.ts';
import { DecompressError, damaged } from './error.ts';
import { SourceReader } from './source-reader.ts';
import { skipTrailing } from './trailing.ts';
import { ZstdContext, type ZstdFailure } from './zstd-context.ts';

/** The decoder keeps as much of its output in memory. The same default as that of `zstd -d`. */
const defaultWindowBytes = 128 * 1024 * 1024;

/**
 * Decodes zstd (RFC 8878), all frames of the file, in this thread.
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
  using context = new ZstdContext(maxWindowBytes);
  try {
    let isBetweenFrames = true;
    for (let isFirst = true; ; isFirst = false) {
      if (isBetweenFrames) {
        const magic = await reader.peek(4);
        if (magic.length === 0) return;
        if (!isFirst && !isZstdFrame(magic)) return await skipTrailing(reader, 'zstd', onWarning);
      }
      const chunk = await reader.next();
      if (chunk === undefined) throw damaged('zstd', 'the file ends unexpectedly', reader.positionBytes);
      let rest: Uint8Array = chunk;
      do {
        signal?.throwIfAborted();
        // Where the memory of the output was full, what is left of it comes first: a frame may end
        // with it.
        const input = context.isFull ? rest.subarray(0, 0) : rest;
        const step = context.decode(input);
        if (step.kind === 'failed') throw explained(step, maxWindowBytes, reader.positionBytes);
        rest = rest.subarray(step.usedBytes);
        if (step.bytes.length > 0) yield { kind: 'data', bytes: step.bytes, release() {} };
        isBetweenFrames = !context.isFull && context.isBetweenFrames();
      } while (context.isFull || (rest.length > 0 && !isBetweenFrames));
      if (rest.length > 0) reader.giveBack(rest);
    }
  } finally {
    await reader.close();
  }
}

/** A frame, or a skippable frame (RFC 8878, sections 3.1.1 and 3.1.2). */
function isZstdFrame(magic: Buffer): boolean {
  return /^(28b52ffd|5[0-9a-f]2a4d18)/.test(magic.toString('hex'));
}

function explained({ code, message }: ZstdFailure, maxWindowBytes: number, offsetBytes: number): DecompressError {
  if (code === 'ZSTD_error_frameParameter_windowTooLarge') {
    const why = `zstd needs a window of more than ${Math.floor(maxWindowBytes / 1024 ** 2)} MiB of memory`;
    const hint = 'allow it with --zstd-window 2GiB, or compress the image without --long';
    return new DecompressError(why, { offsetBytes, hint });
  }
  if (code === 'ZSTD_error_dictionary_wrong') {
    const hint = 'compress the image without -D';
    return new DecompressError('zstd needs the dictionary that it was compressed with', { offsetBytes, hint });
  }
  return damaged('zstd', message, offsetBytes);
}
