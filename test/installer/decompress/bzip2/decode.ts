import { spawnSync } from 'node:child_process';
import { type Bzip2Options, bzip2 } from '../../../../installer/decompress/bzip2/bzip2.ts';
import type { Extent } from '../../../../installer/extent.ts';

/** Decodes a file, given in chunks, into one buffer. */
export async function decodeAll(
  file: Uint8Array,
  options: Bzip2Options & { chunkBytes?: number } = {},
): Promise<Buffer> {
  return await collect(bzip2(chunks(file, options.chunkBytes ?? 65_536), options));
}

export async function collect(extents: AsyncIterable<Extent>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const extent of extents) {
    if (extent.kind === 'zero') {
      parts.push(Buffer.alloc(extent.lengthBytes));
    } else {
      parts.push(Buffer.from(extent.bytes));
      extent.release();
    }
  }
  return Buffer.concat(parts);
}

export async function* chunks(bytes: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

/** What the program makes of a file; undefined if it rejects it. */
export function decodedBy(program: 'bzip2' | 'lbzip2', file: Uint8Array): Buffer | undefined {
  // That the program did not read all its input (an error for `spawnSync`) is not its verdict.
  const { status, stdout } = spawnSync(program, ['-dc'], { input: file, maxBuffer: 1 << 28 });
  return status === 0 ? stdout : undefined;
}
