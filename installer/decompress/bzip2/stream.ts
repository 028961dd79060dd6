/** Equal blocks that follow one another: the bit of the first one, the stored checksum of each. */
export interface EqualBlocks {
  readonly bit: number;
  readonly count: number;
  readonly crc: number;
  /** Of each, before its runs are expanded. */
  readonly length: number;
}

/** What the check of a stream needs to know of some of its blocks. */
export interface BlocksSummary {
  readonly count: number;
  /** Their combined checksum, as that of a stream that begins with them. */
  readonly crc: number;
  /** The longest of them. */
  readonly longest: { readonly bit: number; readonly length: number };
}

export class InvalidStreamError extends Error {
  readonly bit: number;

  constructor(bit: number, reason: string) {
    super(reason);
    this.bit = bit;
  }
}

/** Collects the summary of blocks. */
export class BlocksOfStream {
  #count = 0;
  #crc = 0;
  #longest = { bit: 0, length: 0 };

  add({ bit, count, crc, length }: EqualBlocks): void {
    for (let i = 0; i < count; i++) this.#crc = rotated(this.#crc, 1) ^ crc;
    this.#count += count;
    if (length > this.#longest.length) this.#longest = { bit, length };
  }

  get summary(): BlocksSummary {
    return { count: this.#count, crc: this.#crc, longest: this.#longest };
  }
}

/** Checks what depends on the beginning and the end of a stream, in any number of parts. */
export class Stream {
  readonly level: number;
  #blocks: BlocksSummary = new BlocksOfStream().summary;

  constructor(level: number) {
    this.level = level;
  }

  get blocks(): BlocksSummary {
    return this.#blocks;
  }

  /** @throws {InvalidStreamError} they are longer than the level allows */
  add(blocks: EqualBlocks): void {
    const part = new BlocksOfStream();
    part.add(blocks);
    this.addSummary(part.summary);
  }

  /** @throws {InvalidStreamError} one of them is longer than the level allows */
  addSummary({ count, crc, longest }: BlocksSummary): void {
    if (longest.length > this.level * 100_000)
      throw new InvalidStreamError(longest.bit, `it is longer than level ${this.level} allows`);
    // Each block rotates what was before it: the checksum of a sequence is linear.
    const before = this.#blocks;
    this.#blocks = { count: before.count + count, crc: rotated(before.crc, count % 32) ^ crc, longest };
  }

  /** @throws {InvalidStreamError} the checksum at its end is not that of its blocks */
  end(bit: number, crc: number): void {
    if (crc !== this.#blocks.crc >>> 0) throw new InvalidStreamError(bit, 'the checksum of the stream is wrong');
  }
}

function rotated(crc: number, bits: number): number {
  return bits === 0 ? crc : (crc << bits) | (crc >>> (32 - bits));
}
