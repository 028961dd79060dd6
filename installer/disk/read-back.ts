import { createHash, type Hash } from 'node:crypto';
import type { Extent } from '../extent.ts';

/** Bytes for each digest: 2,000 digests for an image of 8 GB. */
export const windowBytes = 4 * 1024 * 1024;

const zeroes = Buffer.alloc(64 * 1024);

/**
 * Digests of an image, one for each 4 MiB of it, to compare data read back from a disk with decoded
 * data that is no longer in memory. Windows of zeroes cost neither time nor memory.
 */
export class ImageDigests {
  /** One for each complete window; undefined for zeroes. */
  readonly #digests: (Buffer | undefined)[] = [];
  #hash: Hash | undefined;
  /** Bytes of the unfinished window. */
  #fill = 0;

  /** Adds the next piece of the image. */
  add(extent: Extent): void {
    let left = extent.kind === 'zero' ? extent.lengthBytes : extent.bytes.length;
    while (left > 0) {
      const length = Math.min(left, windowBytes - this.#fill);
      if (extent.kind === 'data') {
        const start = extent.bytes.length - left;
        this.#hash = (this.#hash ?? hashOfZeroes(this.#fill)).update(extent.bytes.subarray(start, start + length));
      } else if (this.#hash !== undefined) {
        addZeroes(this.#hash, length);
      }
      left -= length;
      this.#fill += length;
      if (this.#fill === windowBytes) this.end();
    }
  }

  /** Closes the last window. */
  end(): void {
    if (this.#fill === 0) return;
    this.#digests.push(this.#hash?.digest());
    this.#hash = undefined;
    this.#fill = 0;
  }

  /** Whether `bytes` are the content of the window with this number (from 0). */
  matches(window: number, bytes: Uint8Array): boolean {
    const digest = this.#digests[window];
    if (digest !== undefined) return createHash('sha256').update(bytes).digest().equals(digest);
    for (let offset = 0; offset < bytes.length; offset += zeroes.length) {
      const end = Math.min(offset + zeroes.length, bytes.length);
      if (zeroes.compare(bytes, offset, end, 0, end - offset) !== 0) return false;
    }
    return true;
  }
}

function hashOfZeroes(lengthBytes: number): Hash {
  return addZeroes(createHash('sha256'), lengthBytes);
}

function addZeroes(hash: Hash, lengthBytes: number): Hash {
  for (let left = lengthBytes; left > 0; left -= zeroes.length) hash.update(zeroes.subarray(0, left));
  return hash;
}
