import type { FileHandle } from 'node:fs/promises';

/**
 * Writes all bytes at the offset, as many calls as that takes: where little space is left, a call
 * writes a part of them, and the next one says why.
 * @throws the error of Node
 */
export async function writeFully(handle: FileHandle, bytes: Uint8Array, offsetBytes: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const result = await handle.write(bytes, written, bytes.length - written, offsetBytes + written);
    written += result.bytesWritten;
  }
}
