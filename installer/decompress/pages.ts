import type { Extent } from '../extent.ts';

/** Unit of zero detection and of alignment: the page of the kernel's block cache. */
const pageBytes = 4096;
/** A shorter run of zeroes is cheaper to write than to pass separately. */
const zeroRunBytes = 64 * 1024;
const slotBytes = 1024 * 1024;
/**
 * A longer run is passed on in parts: that an image is larger than the disk shows before all of it
 * is decoded.
 */
const maxZeroRunBytes = 1024 * 1024 * 1024;

/**
 * Arranges decoded bytes for writing to a disk: every extent starts at a multiple of 4096 bytes of
 * the image, and all but the last end at one; data extents have up to 1 MiB at page-aligned
 * addresses (for O_DIRECT); runs of at least 64 KiB of zero pages become zero extents, even if the
 * source has them as data.
 *
 * The bytes are copied once. Unaligned writes would make the kernel read the rest of each page from
 * the disk.
 */
export async function* wholePages(source: AsyncIterable<Extent>): AsyncGenerator<Extent> {
  const assembly = new Assembly();
  for await (const extent of source) {
    if (extent.kind === 'zero') {
      yield* assembly.addZeroes(extent.lengthBytes);
    } else {
      yield* assembly.add(extent.bytes);
      extent.release();
    }
  }
  yield* assembly.end();
}

const zeroes = Buffer.alloc(zeroRunBytes);
const zeroPage = zeroes.subarray(0, pageBytes);
const isZero = (bytes: Uint8Array) => zeroes.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;

class Assembly {
  readonly #slots = new Slots();
  /** Data not delivered yet: whole pages. */
  #slot: Uint8Array | undefined;
  #slotFill = 0;
  /** Zero pages between that data and the page being filled. */
  #zeroes = 0;
  readonly #page = Buffer.alloc(pageBytes);
  #pageFill = 0;

  *add(bytes: Uint8Array): Generator<Extent> {
    let rest = bytes;
    if (this.#pageFill > 0) {
      const taken = rest.subarray(0, pageBytes - this.#pageFill);
      this.#page.set(taken, this.#pageFill);
      this.#pageFill += taken.length;
      rest = rest.subarray(taken.length);
      if (this.#pageFill < pageBytes) return;
      this.#pageFill = 0;
      yield* this.#addPages(this.#page);
    }
    const whole = rest.length - (rest.length % pageBytes);
    yield* this.#addPages(rest.subarray(0, whole));
    this.#page.set(rest.subarray(whole));
    this.#pageFill = rest.length - whole;
  }

  *addZeroes(lengthBytes: number): Generator<Extent> {
    let rest = lengthBytes;
    if (this.#pageFill > 0) {
      const taken = Math.min(rest, pageBytes - this.#pageFill);
      yield* this.add(zeroPage.subarray(0, taken));
      rest -= taken;
    }
    const tail = rest % pageBytes;
    yield* this.#addZeroPages(rest - tail);
    yield* this.add(zeroPage.subarray(0, tail));
  }

  *end(): Generator<Extent> {
    const last = this.#page.subarray(0, this.#pageFill);
    if (this.#zeroes >= zeroRunBytes && isZero(last)) this.#zeroes += last.length;
    else yield* this.#append(last);
    yield* this.#flush();
    if (this.#zeroes > 0) yield { kind: 'zero', lengthBytes: this.#zeroes };
  }

  *#addPages(pages: Uint8Array): Generator<Extent> {
    let position = 0;
    while (position < pages.length) {
      let end = position;
      while (end < pages.length && !isZero(pages.subarray(end, end + pageBytes))) end += pageBytes;
      if (end > position) yield* this.#append(pages.subarray(position, end));
      position = end;
      // Long runs are compared faster in large steps.
      for (const step of [zeroRunBytes, pageBytes])
        while (position < pages.length && isZero(pages.subarray(position, position + step))) position += step;
      position = Math.min(position, pages.length);
      yield* this.#addZeroPages(position - end);
    }
  }

  *#addZeroPages(lengthBytes: number): Generator<Extent> {
    this.#zeroes += lengthBytes;
    if (this.#zeroes < maxZeroRunBytes) return;
    yield* this.#flush();
    yield { kind: 'zero', lengthBytes: this.#zeroes };
    this.#zeroes = 0;
  }

  /**
   * Appends data after the zero pages seen so far, which become a zero extent, or data if there are
   * few.
   */
  *#append(data: Uint8Array): Generator<Extent> {
    if (this.#zeroes >= zeroRunBytes) {
      yield* this.#flush();
      yield { kind: 'zero', lengthBytes: this.#zeroes };
      this.#zeroes = 0;
    }
    for (; this.#zeroes > 0; this.#zeroes -= pageBytes) yield* this.#store(zeroPage);
    yield* this.#store(data);
  }

  *#store(data: Uint8Array): Generator<Extent> {
    let rest = data;
    while (rest.length > 0) {
      this.#slot ??= this.#slots.take();
      const taken = rest.subarray(0, slotBytes - this.#slotFill);
      this.#slot.set(taken, this.#slotFill);
      this.#slotFill += taken.length;
      rest = rest.subarray(taken.length);
      if (this.#slotFill === slotBytes) yield* this.#flush();
    }
  }

  *#flush(): Generator<Extent> {
    const slot = this.#slot;
    if (!slot) return;
    const bytes = slot.subarray(0, this.#slotFill);
    this.#slot = undefined;
    this.#slotFill = 0;
    yield { kind: 'data', bytes, release: () => this.#slots.giveBack(slot) };
  }
}

/**
 * A pool of page-aligned memory. In Node only the memory of WebAssembly is known to be aligned.
 * Eight slots share one memory, because each memory reserves much address space. A reader that
 * holds more extents makes the pool grow.
 */
class Slots {
  readonly #free: Uint8Array[] = [];

  take(): Uint8Array {
    const free = this.#free.pop();
    if (free) return free;
    const count = 8;
    const memory = new WebAssembly.Memory({
      initial: (count * slotBytes) / 65536,
      maximum: (count * slotBytes) / 65536,
    });
    for (let i = count - 1; i > 0; i--) this.#free.push(new Uint8Array(memory.buffer, i * slotBytes, slotBytes));
    return new Uint8Array(memory.buffer, 0, slotBytes);
  }

  giveBack(slot: Uint8Array): void {
    this.#free.push(slot);
  }
}
