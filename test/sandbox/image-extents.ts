import { open } from 'node:fs/promises';
import type { Extent } from '../../installer/extent.ts';

export interface ImageExtentsOptions {
  /** Size of a piece. Default: 1 MiB. */
  readonly pieceBytes?: number;
  /** Throws `error` instead of handing on anything at or after this offset. */
  readonly failAtBytes?: number;
  readonly error?: Error;
  /** Pretends that the image ends here. */
  readonly endAtBytes?: number;
  /** Called before each piece with its offset. */
  readonly onPiece?: (offsetBytes: number) => void | Promise<void>;
}

/**
 * A disk image in a file, in the form in which decoders pass it: runs of zeroes as such. Counts
 * what was handed out and given back.
 */
export class ImageExtents implements AsyncIterable<Extent> {
  readonly #path: string;
  readonly #options: ImageExtentsOptions;
  /** Pieces of data that have not been released. Releasing one twice throws. */
  outstanding = 0;

  constructor(path: string, options: ImageExtentsOptions = {}) {
    this.#path = path;
    this.#options = options;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Extent> {
    const { pieceBytes = 1024 * 1024, failAtBytes = Infinity, endAtBytes = Infinity } = this.#options;
    await using file = await open(this.#path, 'r');
    const zeroes = Buffer.alloc(pieceBytes);
    let zeroBytes = 0;
    for (let offset = 0; offset < endAtBytes; ) {
      if (offset >= failAtBytes) {
        if (zeroBytes > 0) yield { kind: 'zero', lengthBytes: zeroBytes };
        throw this.#options.error ?? new Error('the image broke off');
      }
      await this.#options.onPiece?.(offset);
      const length = Math.min(pieceBytes, endAtBytes - offset);
      const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, offset);
      if (bytesRead === 0) break;
      offset += bytesRead;
      const bytes = buffer.subarray(0, bytesRead);
      if (bytes.equals(zeroes.subarray(0, bytesRead))) {
        zeroBytes += bytesRead;
        continue;
      }
      if (zeroBytes > 0) yield { kind: 'zero', lengthBytes: zeroBytes };
      zeroBytes = 0;
      yield this.#data(bytes);
    }
    if (zeroBytes > 0) yield { kind: 'zero', lengthBytes: zeroBytes };
  }

  #data(bytes: Uint8Array): Extent {
    this.outstanding++;
    let released = false;
    return {
      kind: 'data',
      bytes,
      release: () => {
        if (released) throw new Error('a piece was released twice');
        released = true;
        this.outstanding--;
        // A later write from this memory would write garbage.
        bytes.fill(0xdb);
      },
    };
  }
}
