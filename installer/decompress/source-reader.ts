/** Reads a source in pieces of any size, and its chunks as they arrive. */
export class SourceReader {
  readonly #iterator: AsyncIterator<Uint8Array>;
  #buffer: Buffer = Buffer.alloc(0);
  #readBytes = 0;
  #hasEnded = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#iterator = source[Symbol.asyncIterator]();
  }

  /** How much has been taken. */
  get positionBytes(): number {
    return this.#readBytes - this.#buffer.length;
  }

  /** Up to `length` bytes, which stay; fewer at the end of the source. */
  async peek(length: number): Promise<Buffer> {
    while (this.#buffer.length < length && (await this.#fill())) {}
    return this.#buffer.subarray(0, length);
  }

  /** As {@link peek}, but they are taken. */
  async take(length: number): Promise<Buffer> {
    const taken = await this.peek(length);
    this.#buffer = this.#buffer.subarray(taken.length);
    return taken;
  }

  /** What has arrived, or arrives next; `undefined` at the end. */
  async next(): Promise<Buffer | undefined> {
    while (this.#buffer.length === 0) if (!(await this.#fill())) return undefined;
    const chunk = this.#buffer;
    this.#buffer = Buffer.alloc(0);
    return chunk;
  }

  /** What was taken last, and is not used. */
  giveBack(rest: Uint8Array): void {
    const bytes = Buffer.from(rest.buffer, rest.byteOffset, rest.length);
    this.#buffer = this.#buffer.length === 0 ? bytes : Buffer.concat([bytes, this.#buffer]);
  }

  /** @returns false: the source ended with zeroes */
  async skipZeroes(): Promise<boolean> {
    for (let chunk = await this.next(); chunk !== undefined; chunk = await this.next()) {
      const at = chunk.findIndex((byte) => byte !== 0);
      if (at < 0) continue;
      this.giveBack(chunk.subarray(at));
      return true;
    }
    return false;
  }

  async close(): Promise<void> {
    await this.#iterator.return?.();
  }

  async #fill(): Promise<boolean> {
    if (this.#hasEnded) return false;
    const next = await this.#iterator.next();
    if (next.done) {
      this.#hasEnded = true;
      return false;
    }
    this.#readBytes += next.value.length;
    this.#buffer =
      this.#buffer.length === 0
        ? Buffer.from(next.value.buffer, next.value.byteOffset, next.value.length)
        : Buffer.concat([this.#buffer, next.value]);
    return true;
  }
}
