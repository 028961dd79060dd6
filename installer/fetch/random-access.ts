/** An image whose parts can be read in any order: on servers, in a file, or of a stream. */
export interface RandomAccess extends Disposable {
  /** URL or path, for messages. */
  readonly origin: string;
  /** Of the whole file; undefined with a stream whose server does not announce it. */
  readonly sizeBytes: number | undefined;
  /**
   * Whether it is a stream: reads must follow the order of the file, and may go back only a little.
   */
  readonly isSequential: boolean;
  /**
   * Bytes of the file, in pieces of any size; fewer than `lengthBytes` only at the end of the file.
   * With `Infinity` all that follow: a stream then keeps nothing of them.
   * Several reads may run at once. A stream serves them in the order in which they are begun.
   *
   * @throws {FileChangedError} the image must be read again from its start;
   *   {OutOfOrderError} a stream has passed these bytes; the reason of the signal
   */
  read(offsetBytes: number, lengthBytes: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /**
   * Called after the last read. A stream is read to its end, so that its hash covers every byte.
   */
  finish(signal: AbortSignal): Promise<void>;
}

/** An image whose parts can be read again: not a stream. */
export interface RangedImage extends RandomAccess {
  readonly sizeBytes: number;
  readonly isSequential: false;
}

/** A stream: its parts must be read in about the order of the file. */
export interface StreamedImage extends RandomAccess {
  readonly isSequential: true;
}

/** A stream has passed bytes that are needed, and they are no longer in memory. */
export class OutOfOrderError extends Error {
  override readonly name = 'OutOfOrderError';
}

/**
 * Fills `target` with bytes of the image.
 * @returns number of bytes read: fewer than `target` has only at the end of the file
 */
export async function readInto(
  image: RandomAccess,
  offsetBytes: number,
  target: Uint8Array,
  signal: AbortSignal,
): Promise<number> {
  let filledBytes = 0;
  for await (const chunk of image.read(offsetBytes, target.length, signal)) {
    target.set(chunk, filledBytes);
    filledBytes += chunk.length;
  }
  return filledBytes;
}
