import { createHash } from 'node:crypto';
import { InstallError } from '../errors.ts';
import { FileChangedError } from './errors.ts';
import { type RangedImage, readInto } from './random-access.ts';

const blockBytes = 1024 * 1024;
/** Blocks that are read with one request. */
const maxRunBlocks = 4;
/** Blocks that are kept, because the next read may need another part of them. */
const maxKeptBlocks = 16;

/**
 * Reads all of an image once, and gives access to exactly the bytes that came then: reads fetch
 * whole blocks of 1 MiB again, and compare their SHA-256 with that of the first time. So a hash or
 * a signature of the whole file certifies what is read later. It takes 32 bytes of memory for each
 * MiB of the file, and 16 MiB for blocks.
 *
 * @param watch passes its source through and sees every byte, as that of a `Verifier` does
 * @throws {FileChangedError} also of reads: the servers sent something else the second time
 */
export async function verifiedAccess(
  image: RangedImage,
  watch: (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<RangedImage> {
  const { sizeBytes } = image;
  const digests: Buffer[] = [];
  let hash = createHash('sha256');
  let hashedBytes = 0;
  let readBytes = 0;
  for await (const chunk of watch(image.read(0, sizeBytes, signal))) {
    readBytes += chunk.length;
    for (let rest = chunk; rest.length > 0; ) {
      const taken = rest.subarray(0, blockBytes - hashedBytes);
      hash.update(taken);
      hashedBytes += taken.length;
      rest = rest.subarray(taken.length);
      if (hashedBytes < blockBytes) continue;
      digests.push(hash.digest());
      hash = createHash('sha256');
      hashedBytes = 0;
    }
  }
  if (hashedBytes > 0) digests.push(hash.digest());
  if (readBytes !== sizeBytes) throw changed(image);
  return new VerifiedAccess(image, sizeBytes, digests);
}

class VerifiedAccess implements RangedImage {
  readonly origin: string;
  readonly sizeBytes: number;
  readonly isSequential = false;
  readonly #image: RangedImage;
  readonly #digests: readonly Buffer[];
  /** By the number of the block; those used last are at the end. */
  readonly #blocks = new Map<number, Promise<Uint8Array>>();

  constructor(image: RangedImage, sizeBytes: number, digests: readonly Buffer[]) {
    this.origin = image.origin;
    this.sizeBytes = sizeBytes;
    this.#image = image;
    this.#digests = digests;
  }

  async *read(offsetBytes: number, lengthBytes: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const endBytes = Math.min(offsetBytes + lengthBytes, this.sizeBytes);
    for (let position = offsetBytes; position < endBytes; ) {
      const index = Math.floor(position / blockBytes);
      const lastIndex = Math.floor((endBytes - 1) / blockBytes);
      const start = index * blockBytes;
      const block = await this.#block(index, lastIndex, signal);
      yield block.subarray(position - start, endBytes - start);
      position = start + block.length;
    }
  }

  async finish(signal: AbortSignal): Promise<void> {
    this.#blocks.clear();
    await this.#image.finish(signal);
  }

  [Symbol.dispose](): void {
    this.#image[Symbol.dispose]();
  }

  /** @param lastIndex of the blocks that the read needs: they come with the same request */
  #block(index: number, lastIndex: number, signal: AbortSignal): Promise<Uint8Array> {
    const known = this.#blocks.get(index);
    if (known !== undefined) {
      this.#blocks.delete(index);
      this.#blocks.set(index, known);
      return known;
    }
    let count = 1;
    while (count < maxRunBlocks && index + count <= lastIndex && !this.#blocks.has(index + count)) count++;
    return this.#load(index, count, signal);
  }

  /**
   * Requests blocks that follow one another.
   * @returns the first of them
   */
  #load(firstIndex: number, count: number, signal: AbortSignal): Promise<Uint8Array> {
    const start = firstIndex * blockBytes;
    const run = Buffer.allocUnsafeSlow(Math.min(count * blockBytes, this.sizeBytes - start));
    const read = readInto(this.#image, start, run, signal);
    const blockOf = async (number: number) => {
      if ((await read) !== run.length) throw changed(this.#image);
      // A copy: what is kept does not hold the memory of the others.
      const bytes = Buffer.from(run.subarray(number * blockBytes, (number + 1) * blockBytes));
      const digest = createHash('sha256').update(bytes).digest();
      if (this.#digests[firstIndex + number]?.equals(digest) !== true) throw changed(this.#image);
      return bytes;
    };
    const blocks = Array.from({ length: count }, (_, number) => blockOf(number));
    for (const [number, block] of blocks.entries()) {
      // Reported to the reader of the block. One that is not read is not needed.
      block.catch(() => {});
      this.#blocks.set(firstIndex + number, block);
    }
    for (const oldest of this.#blocks.keys()) {
      if (this.#blocks.size <= maxKeptBlocks) break;
      this.#blocks.delete(oldest);
    }
    const [first] = blocks;
    return first ?? blockOf(0);
  }
}

function changed({ origin }: RangedImage): Error {
  const why = 'it is not the same when it is read again';
  return URL.canParse(origin)
    ? new FileChangedError(why, new URL(origin))
    : new InstallError({ what: 'read the image', target: origin, why });
}
