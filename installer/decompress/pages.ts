import type { Extent } from '../extent.ts';

/** Unit in which zeroes are looked for and data is cut: the page of the kernel's block cache. */
const pageBytes = 4096;
/** A shorter run of zeroes is cheaper to write than to hand on on its own. */
const zeroRunBytes = 64 * 1024;
const slotBytes = 1024 * 1024;

/**
 * Puts decoded bytes into the form in which a disk takes them best: every extent starts on a multiple of 4096 bytes of the image, all
 * but the image's last bytes end on one, data comes in pieces of up to 1 MiB at page-aligned addresses (as O_DIRECT wants them), and
 * runs of at least 64 KiB of zero pages come as zero extents, whether the source knew of them or not.
 *
 * The bytes are copied, once: writing unaligned pieces would make the kernel read the disk for the rest of each page.
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

const zeroPage = Buffer.alloc(pageBytes);
const isZero = (bytes: Uint8Array) => zeroPage.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;

class Assembly {
  readonly #slots = new Slots();
  /** Data not handed on yet: whole pages. */
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
    this.#zeroes += rest - tail;
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
      while (position < pages.length && isZero(pages.subarray(position, position + pageBytes))) position += pageBytes;
      this.#zeroes += position - end;
    }
  }

  /** Appends data after the zero pages seen so far, which now turn out to be a run of their own or part of the data. */
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
 * Recycled pieces of page-aligned memory. WebAssembly's memory is the only one of Node whose address is known to be aligned; eight slots
 * share one, because each reserves much address space. Whoever holds more extents than that at once makes it grow.
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
