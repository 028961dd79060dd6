import type { Extent } from '../extent.ts';
import { crc32, crc32OfZeroes } from './crc32.ts';
import { damaged } from './error.ts';
import { createInflateKernel, type InflateKernel, inflateStatus } from './inflate/kernel.ts';
import { KernelInput } from './inflate/kernel-input.ts';
import { trailingWarning } from './trailing.ts';

/** A name or a comment has some bytes. */
const maxTextBytes = 1024 * 1024;
const headerBytes = 10;
const trailerBytes = 8;

const reasons: Record<number, string> = {
  [inflateStatus.truncated]: 'the file ends unexpectedly',
  [inflateStatus.badType]: 'it has a block of an unknown type',
  [inflateStatus.badLengths]: 'it has impossible code lengths',
  [inflateStatus.badCode]: 'it has an impossible code',
  [inflateStatus.noEnd]: 'it has a code without an end of the block',
  [inflateStatus.badSymbol]: 'it has a code without meaning',
  [inflateStatus.badDistance]: 'it refers to what is before its beginning',
  [inflateStatus.badStored]: 'it has a stored block whose lengths differ',
};

/**
 * Decodes gzip (RFC 1952), all members of the file, with all checks verified; in this thread.
 * Zeroes after a member are padding, also before another member; after anything else that is none
 * only a warning comes.
 *
 * Not by Node's own decoder: that passes every zero of a disk image on, and whether it takes what
 * follows a member depends on how the bytes arrive.
 */
export async function* gzip(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
  onWarning?: (message: string) => void,
): AsyncGenerator<Extent> {
  const kernel = createInflateKernel();
  const input = new KernelInput(kernel, source);
  try {
    for (let isFirst = true; ; isFirst = false) {
      if (input.availableBytes < headerBytes + trailerBytes) await input.has(headerBytes + trailerBytes);
      const isMember = input.byte(0) === 0x1f && input.byte(1) === 0x8b;
      if (!isMember && !isFirst) {
        // Padding may be longer than what has arrived.
        if (await skipZeroes(input)) continue;
        const ignored = await skipRest(input);
        if (ignored > 0) onWarning?.(trailingWarning(ignored, 'gzip'));
        return yield* takenOutput(kernel);
      }
      // Without a wait for each part: there may be a million members.
      const startBytes = input.positionBytes;
      if (!skipPlainHeader(input)) await skipHeader(input);
      const member = new Member(kernel, input);
      for (let isMore = true; isMore; ) {
        signal?.throwIfAborted();
        const status = member.run();
        if (status === inflateStatus.ended) isMore = false;
        else if (status === inflateStatus.needsInput) await input.fill();
        else yield* member.taken();
      }
      if (input.availableBytes < trailerBytes) await input.has(trailerBytes);
      member.check(startBytes);
    }
  } finally {
    await input.close();
  }
}

/** What is decoded of a member, and its check. Small ones share the output of the kernel. */
class Member {
  readonly #kernel: InflateKernel;
  readonly #input: KernelInput;
  #checksum = 0;
  #sizeBytes = 0;
  /** The output before is in the checksum. */
  #checkedEnd: number;

  constructor(kernel: InflateKernel, input: KernelInput) {
    kernel.start();
    this.#kernel = kernel;
    this.#input = input;
    this.#checkedEnd = kernel.outputEnd();
  }

  /** @throws {DecompressError} */
  run(): number {
    const kernel = this.#kernel;
    const input = this.#input;
    const status = kernel.run(input.at, input.length, input.isLast);
    // A file that is cut short was read beyond its end.
    input.at = Math.min(kernel.position(), input.length);
    const end = kernel.outputEnd();
    if (end > this.#checkedEnd) {
      this.#checksum = crc32(kernel.memory.subarray(this.#checkedEnd, end), this.#checksum);
      this.#sizeBytes += end - this.#checkedEnd;
      this.#checkedEnd = end;
    }
    const reason = reasons[status];
    if (reason !== undefined) throw damaged('gzip', reason, input.positionBytes);
    return status;
  }

  /** The output so far, then the zeroes after it. */
  *taken(): Generator<Extent> {
    const kernel = this.#kernel;
    yield* takenOutput(kernel);
    this.#checkedEnd = kernel.outputEnd();
    const zeroes = kernel.takeZeroes();
    if (zeroes === 0) return;
    this.#checksum = crc32OfZeroes(zeroes, this.#checksum);
    this.#sizeBytes += zeroes;
    yield { kind: 'zero', lengthBytes: zeroes };
  }

  /**
   * Reads the trailer.
   * @param startBytes where the member begins
   */
  check(startBytes: number): void {
    const input = this.#input;
    if (input.availableBytes < trailerBytes)
      throw damaged('gzip', 'the file ends unexpectedly', input.positionBytes + input.availableBytes);
    const isRight = input.uint32(0) === this.#checksum && input.uint32(4) === this.#sizeBytes % 2 ** 32;
    input.at += trailerBytes;
    if (!isRight)
      throw damaged('gzip', `the checksum of what begins at byte ${startBytes} is wrong`, input.positionBytes);
  }
}

function* takenOutput(kernel: InflateKernel): Generator<Extent> {
  const bytes = kernel.memory.subarray(kernel.outputStart(), kernel.outputEnd());
  if (bytes.length > 0) yield { kind: 'data', bytes, release() {} };
  kernel.takeOutput();
}

/** @returns false: the header has more than ten bytes, or is none; nothing is used then */
function skipPlainHeader(input: KernelInput): boolean {
  if (input.availableBytes < headerBytes || input.byte(2) !== 8 || input.byte(3) !== 0) return false;
  input.at += headerBytes;
  return true;
}

/** RFC 1952, section 2.3. */
async function skipHeader(input: KernelInput): Promise<void> {
  if (!(await input.has(headerBytes))) throw ends(input);
  const [method, flags = 0] = [input.byte(2), input.byte(3)];
  if (method !== 8 || (flags & 0xe0) !== 0) throw damaged('gzip', 'unknown compression method', input.positionBytes);
  await input.skip(headerBytes);
  if (flags & 4) {
    if (!(await input.has(2))) throw ends(input);
    await input.skip(2 + (input.uint32(0) & 0xffff));
  }
  for (const flag of [8, 16]) if (flags & flag) await skipText(input);
  if (flags & 2) await input.skip(2);
}

/** Up to its zero. */
async function skipText(input: KernelInput): Promise<void> {
  for (let length = 0; length < maxTextBytes; length++) {
    if (!(await input.has(1))) throw ends(input);
    const isEnd = input.byte(0) === 0;
    input.at++;
    if (isEnd) return;
  }
  throw damaged('gzip', 'its header has no end', input.positionBytes);
}

/** @returns whether there were any, and more follows */
async function skipZeroes(input: KernelInput): Promise<boolean> {
  let hasSkipped = false;
  while (input.byte(0) === 0 || (input.availableBytes === 0 && (await input.fill()))) {
    while (input.byte(0) === 0) {
      input.at++;
      hasSkipped = true;
    }
  }
  return hasSkipped && input.availableBytes > 0;
}

async function skipRest(input: KernelInput): Promise<number> {
  const start = input.positionBytes;
  do input.at = input.length;
  while (await input.fill());
  return input.positionBytes - start;
}

function ends(input: KernelInput): Error {
  return damaged('gzip', 'the file ends unexpectedly', input.positionBytes + input.availableBytes);
}
