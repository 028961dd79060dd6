import { type FileHandle, open } from 'node:fs/promises';
import { reasonOf } from '../../errors/reason.ts';
import { InstallError } from '../errors.ts';
import type { RangedImage } from './random-access.ts';

const chunkBytes = 1024 * 1024;

/**
 * Opens an image in a file of this machine for reads in any order.
 * @throws {InstallError} it is not a file with content that can be read
 */
export async function openFileAccess(path: string): Promise<RangedImage> {
  const handle = await open(path).catch((cause: unknown) => {
    throw unreadable(path, reasonOf(cause), cause);
  });
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw unreadable(path, 'it is not a regular file');
    if (stats.size === 0) throw unreadable(path, 'it is empty');
    return new FileAccess(path, handle, { sizeBytes: stats.size, modifiedMs: stats.mtimeMs });
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function unreadable(path: string, why: string, cause?: unknown): InstallError {
  return new InstallError({ what: 'read the image', target: path, why, hint: 'give the path of an image file', cause });
}

class FileAccess implements RangedImage {
  readonly origin: string;
  readonly sizeBytes: number;
  readonly isSequential = false;
  readonly #handle: FileHandle;
  readonly #modifiedMs: number;

  constructor(
    path: string,
    handle: FileHandle,
    { sizeBytes, modifiedMs }: { readonly sizeBytes: number; readonly modifiedMs: number },
  ) {
    this.origin = path;
    this.sizeBytes = sizeBytes;
    this.#handle = handle;
    this.#modifiedMs = modifiedMs;
  }

  async *read(offsetBytes: number, lengthBytes: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const endBytes = Math.min(offsetBytes + lengthBytes, this.sizeBytes);
    for (let position = offsetBytes; position < endBytes; ) {
      signal.throwIfAborted();
      const buffer = Buffer.allocUnsafeSlow(Math.min(chunkBytes, endBytes - position));
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, position).catch((cause: unknown) => {
        throw unreadable(this.origin, reasonOf(cause), cause);
      });
      if (bytesRead === 0) throw this.#changed();
      position += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  /** @throws {InstallError} the file was changed after it was opened */
  async finish(): Promise<void> {
    const { size, mtimeMs } = await this.#handle.stat();
    if (size !== this.sizeBytes || mtimeMs !== this.#modifiedMs) throw this.#changed();
  }

  [Symbol.dispose](): void {
    // Nothing was written: there is nothing to lose when it fails.
    this.#handle.close().catch(() => {});
  }

  #changed(): InstallError {
    const hint = 'try again when no other program writes it';
    return new InstallError({ what: 'read the image', target: this.origin, why: 'it changed meanwhile', hint });
  }
}
