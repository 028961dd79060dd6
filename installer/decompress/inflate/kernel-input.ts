import type { InflateKernel } from './kernel.ts';

/** A source, in the memory of a kernel. */
export class KernelInput {
  readonly #memory: Uint8Array;
  readonly #capacity: number;
  readonly #iterator: AsyncIterator<Uint8Array>;
  /** What arrived, and has no room yet. */
  #waiting: Uint8Array = new Uint8Array(0);
  /** Bytes of the source before the memory. */
  #offsetBytes = 0;
  #at = 0;
  #length = 0;
  #hasEnded = false;

  constructor({ memory, inputStart, inputBytes }: InflateKernel, source: AsyncIterable<Uint8Array>) {
    this.#memory = memory.subarray(inputStart, inputStart + inputBytes);
    this.#capacity = inputBytes;
    this.#iterator = source[Symbol.asyncIterator]();
  }

  /** How much of the source was used. */
  get positionBytes(): number {
    return this.#offsetBytes + this.#at;
  }

  /** What was not used is in the kernel's input from here on … */
  get at(): number {
    return this.#at;
  }

  set at(at: number) {
    this.#at = at;
  }

  /** … up to here. */
  get length(): number {
    return this.#length;
  }

  get availableBytes(): number {
    return this.#length - this.#at;
  }

  /** Nothing follows that. */
  get isLast(): boolean {
    return this.#hasEnded && this.#waiting.length === 0;
  }

  /** A byte that is available: the first one has the index 0. */
  byte(index: number): number | undefined {
    return index < this.availableBytes ? this.#memory[this.#at + index] : undefined;
  }

  uint32(index: number): number {
    const at = this.#at + index;
    const [a = 0, b = 0, c = 0, d = 0] = this.#memory.subarray(at, at + 4);
    return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
  }

  /** @returns false: there are fewer bytes */
  async has(lengthBytes: number): Promise<boolean> {
    while (this.availableBytes < lengthBytes) if (!(await this.fill())) return false;
    return true;
  }

  /** Uses bytes; fewer at the end. */
  async skip(lengthBytes: number): Promise<void> {
    let rest = lengthBytes;
    for (;;) {
      const skipped = Math.min(rest, this.availableBytes);
      this.#at += skipped;
      rest -= skipped;
      if (rest === 0 || !(await this.fill())) return;
    }
  }

  /**
   * Makes more bytes available; there must be room for one.
   * @returns false: there are no more
   */
  async fill(): Promise<boolean> {
    while (this.#waiting.length === 0) {
      if (this.#hasEnded) return false;
      const next = await this.#iterator.next();
      if (next.done) this.#hasEnded = true;
      else this.#waiting = next.value;
    }
    this.#memory.copyWithin(0, this.#at, this.#length);
    this.#offsetBytes += this.#at;
    this.#length -= this.#at;
    this.#at = 0;
    const taken = this.#waiting.subarray(0, this.#capacity - this.#length);
    this.#memory.set(taken, this.#length);
    this.#length += taken.length;
    this.#waiting = this.#waiting.subarray(taken.length);
    return true;
  }

  async close(): Promise<void> {
    await this.#iterator.return?.();
  }
}
