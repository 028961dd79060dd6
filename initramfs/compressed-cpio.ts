import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';
import { cpio } from './cpio.ts';
import type { Tree } from './tree.ts';

/**
 * A cpio archive compressed with zstd. The kernel skips the zeros at its end: an archive that is
 * not compressed may follow only at a multiple of four bytes.
 */
export async function compressedCpio(tree: Tree, timeSeconds: number, compressionLevel: number): Promise<Uint8Array> {
  const params = { [constants.ZSTD_c_compressionLevel]: compressionLevel };
  const packed = await promisify(zstdCompress)(cpio(tree, timeSeconds), { params });
  return Buffer.concat([packed, Buffer.alloc(-packed.length & 3)]);
}
