import { gunzipSync } from 'node:zlib';
import { z } from 'zod';
import { reasonOf } from '../../../errors/reason.ts';

/** Of the decompressed data; far more than a config has use for. */
const maxBytes = 256 * 1024 * 1024;

const inflated = z.object({ buffer: z.instanceof(Buffer), engine: z.object({ bytesWritten: z.number() }) });

/**
 * Decompresses gzip as Go's `compress/gzip` does: nothing may follow the last member.
 * @returns the data, or the reason why it cannot be decompressed
 */
export function gunzip(compressed: Buffer): Buffer | string {
  try {
    const { buffer, engine } = inflated.parse(gunzipSync(compressed, { info: true, maxOutputLength: maxBytes }));
    return engine.bytesWritten === compressed.length ? buffer : 'zeroes follow the compressed data';
  } catch (error) {
    return reasonOf(error);
  }
}
