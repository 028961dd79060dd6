import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** What is at a path is no file that is read. The message is what it is: `is a symbolic link`. */
export class PlacedFileError extends Error {
  override readonly name = 'PlacedFileError';
  readonly reason: 'not-regular' | 'too-large';

  constructor(reason: 'not-regular' | 'too-large', message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

/**
 * Reads a file that another program, another user or an image can have placed. A symbolic link is
 * not followed, a pipe or device is neither waited for nor read, and no more than a limit is kept.
 *
 * @throws {PlacedFileError} it is no regular file, or larger than `maxBytes`; Node's error, with
 *   `code` ENOENT where there is none
 */
export async function readPlacedFile(path: string, maxBytes: number): Promise<Buffer> {
  // Without O_NONBLOCK the kernel waits until a pipe has a writer (open(2)).
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
  await using file = await open(path, flags).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ELOOP') throw new PlacedFileError('not-regular', 'is a symbolic link', { cause: error });
    // A socket, or a device without a driver.
    if (error.code === 'ENXIO') throw new PlacedFileError('not-regular', 'is not a regular file', { cause: error });
    throw error;
  });
  const stat = await file.stat();
  if (!stat.isFile()) throw new PlacedFileError('not-regular', 'is not a regular file');
  const tooLarge = (sizeBytes: number) =>
    new PlacedFileError('too-large', `has ${sizeBytes} bytes, more than ${maxBytes}`);
  if (stat.size > maxBytes) throw tooLarge(stat.size);
  // It may grow meanwhile; files of the kernel have a size of 0.
  const chunks: Buffer[] = [];
  let length = 0;
  for (;;) {
    const chunk = Buffer.alloc(Math.min(Math.max(stat.size - length, 4096), maxBytes - length + 1));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, length);
    if (bytesRead === 0) return Buffer.concat(chunks, length);
    chunks.push(chunk.subarray(0, bytesRead));
    length += bytesRead;
    if (length > maxBytes) throw tooLarge(length);
  }
}
