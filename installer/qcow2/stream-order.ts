import { DecompressError } from '../decompress/error.ts';
import type { RandomAccess } from '../fetch/random-access.ts';
import { streamWindowBytes } from '../fetch/stream-access.ts';
import { readHeader } from './header.ts';
import { piecesOf } from './pieces.ts';

/** What is read ahead and together is not in exactly the order of the disk. */
const slackBytes = 10 * 1024 * 1024;

/**
 * Whether the image could be written while it is read once, from its beginning to its end. Reads
 * only its tables.
 * @returns also false for an image that is damaged
 */
export async function isInStreamOrder(image: RandomAccess, signal: AbortSignal): Promise<boolean> {
  const order = new Order(image);
  try {
    const header = await readHeader(order, signal);
    for await (const piece of piecesOf(order, header, signal)) {
      if (piece.kind === 'data') order.pass(piece.offsetBytes, piece.lengthBytes);
      if (piece.kind === 'compressed') order.pass(piece.offsetBytes, piece.storedBytes);
      if (!order.isKept) return false;
    }
    return order.isKept;
  } catch (error) {
    if (error instanceof DecompressError) return false;
    throw error;
  }
}

/** An image, with the order in which its parts are needed. */
class Order implements RandomAccess {
  readonly origin: string;
  readonly sizeBytes: number | undefined;
  readonly isSequential = true;
  readonly #image: RandomAccess;
  #position = 0;
  isKept = true;

  constructor(image: RandomAccess) {
    this.origin = image.origin;
    this.sizeBytes = image.sizeBytes;
    this.#image = image;
  }

  read(offsetBytes: number, lengthBytes: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    this.pass(offsetBytes, lengthBytes);
    return this.#image.read(offsetBytes, lengthBytes, signal);
  }

  pass(offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes < this.#position - streamWindowBytes + slackBytes) this.isKept = false;
    this.#position = Math.max(this.#position, offsetBytes + lengthBytes);
  }

  async finish(): Promise<void> {}

  [Symbol.dispose](): void {}
}
