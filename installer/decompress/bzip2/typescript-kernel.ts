import { addBytes, addZeroes } from './crc.ts';
import {
  blockCapacity,
  decodeStatus,
  expanded,
  groupSymbols,
  type Kernel,
  maxCodeLength,
  maxSelectors,
  outputBytes,
  zeroRunBytes,
} from './kernel.ts';
import { bits24 } from './magic.ts';
import { unrandomise } from './randomised.ts';

/** Codes of up to this length are decoded with one look-up. */
const primaryBits = 11;
const maxGroups = 6;
/** Bytes that may be read beyond the input while a group of symbols is decoded. */
const inputSlack = 256;

interface Lane {
  /** permutation[row] = the row that follows << 8 | the first byte of this row. */
  readonly permutation: Uint32Array;
  /** The block before its runs are expanded. */
  readonly bytes: Uint8Array;
  length: number;
  origin: number;
  randomised: boolean;
  storedCrc: number;
  endBit: number;
  /** State of `expand`. */
  position: number;
  register: number;
}

/** The decoder in plain TypeScript, for processors whose WebAssembly has no SIMD. */
export function typescriptKernel(lanes: number, inputCapacity: number): Kernel {
  return new TypescriptKernel(lanes, inputCapacity);
}

class TypescriptKernel implements Kernel {
  readonly lanes: number;
  readonly input: Uint8Array;
  readonly output = new Uint8Array(outputBytes);
  readonly #view: DataView;
  readonly #lanes: Lane[];
  #inputBits = 0;

  // Of the block being decoded.
  readonly #symbols = new Uint8Array(blockCapacity);
  readonly #counts = new Uint32Array(256);
  readonly #used = new Uint8Array(256);
  #usedCount = 0;
  readonly #selectors = new Uint8Array(maxSelectors);
  #selectorCount = 0;
  readonly #codes = Array.from({ length: maxGroups }, () => new Code());
  #bit = 0;

  constructor(lanes: number, inputCapacity: number) {
    this.lanes = lanes;
    const memory = new Uint8Array(inputCapacity + inputSlack);
    this.input = memory.subarray(0, inputCapacity);
    this.#view = new DataView(memory.buffer);
    this.#lanes = Array.from({ length: lanes }, () => ({
      permutation: new Uint32Array(blockCapacity),
      bytes: new Uint8Array(blockCapacity),
      length: 0,
      origin: 0,
      randomised: false,
      storedCrc: 0,
      endBit: 0,
      position: 0,
      register: 0,
    }));
  }

  load(lengthBytes: number): void {
    this.#inputBits = lengthBytes * 8;
    new Uint8Array(this.#view.buffer, lengthBytes, inputSlack).fill(0);
  }

  read24(bit: number): number {
    return bits24(this.input, bit);
  }

  same(bit: number, otherBit: number, bits: number): boolean {
    if (Math.max(bit, otherBit) + bits > this.#inputBits) return false;
    let done = 0;
    for (; done + 24 <= bits; done += 24) if (this.read24(bit + done) !== this.read24(otherBit + done)) return false;
    return (this.read24(bit + done) ^ this.read24(otherBit + done)) >>> (24 - (bits - done)) === 0;
  }

  endBit = (lane: number) => this.#lane(lane).endBit;
  storedCrc = (lane: number) => this.#lane(lane).storedCrc;
  blockLength = (lane: number) => this.#lane(lane).length;
  crc = (lane: number) => ~this.#lane(lane).register >>> 0;

  decode(laneNumber: number, bit: number): number {
    const lane = this.#lane(laneNumber);
    this.#bit = bit + 48;
    const failure = this.#decodeHeader(lane) || this.#decodeTables() || this.#decodeSymbols(lane);
    if (this.#bit > this.#inputBits) return decodeStatus.cut;
    if (failure) return failure;
    if (lane.origin >= lane.length) return decodeStatus.badOrigin;
    lane.endBit = this.#bit;
    this.#permute(lane);
    return decodeStatus.ok;
  }

  invert(count: number): void {
    const lanes = this.#lanes.slice(0, count);
    for (let first = 0; first < count; first += 4) {
      const [a, b, c, d] = lanes.slice(first, first + 4);
      if (a && b && c && d) follow4(a, b, c, d);
      else for (const lane of lanes.slice(first)) follow(lane, 0, lane.origin);
    }
    for (const lane of lanes) {
      if (lane.randomised) unrandomise(lane.bytes.subarray(0, lane.length));
    }
  }

  rewind(lane: number): void {
    const it = this.#lane(lane);
    it.position = 0;
    it.register = -1;
  }

  expand(laneNumber: number): number {
    const lane = this.#lane(laneNumber);
    const zeroes = zeroRun(lane);
    if (zeroes >= zeroRunBytes) return -zeroes;
    const { bytes, length } = lane;
    const output = this.output;
    let read = lane.position;
    let written = 0;
    // Whole runs only (at most 4 + 255 bytes), so that the position is the only state.
    while (read < length && written <= outputBytes - 259) {
      const byte = bytes[read++] as number;
      output[written++] = byte;
      if (bytes[read] !== byte || read >= length) continue;
      output[written++] = byte;
      if (bytes[++read] !== byte || read >= length) continue;
      output[written++] = byte;
      if (bytes[++read] !== byte || read >= length) continue;
      output[written++] = byte;
      if (++read >= length) return expanded.unfinishedRun;
      const more = bytes[read++] as number;
      output.fill(byte, written, written + more);
      written += more;
    }
    lane.position = read;
    lane.register = addBytes(lane.register, output, written);
    return written;
  }

  #lane(number: number): Lane {
    return this.#lanes[number] as Lane;
  }

  /** Up to 24 bits, most significant first. */
  #bits(count: number): number {
    const bit = this.#bit;
    if (bit >= this.#inputBits) {
      this.#bit = bit + count;
      return 0;
    }
    this.#bit = bit + count;
    return ((this.#view.getUint32(bit >>> 3) << (bit & 7)) >>> 8) >>> (24 - count);
  }

  #decodeHeader(lane: Lane): number {
    lane.storedCrc = ((this.#bits(16) << 16) | this.#bits(16)) >>> 0;
    lane.randomised = this.#bits(1) === 1;
    lane.origin = this.#bits(24);
    const ranges = this.#bits(16);
    this.#usedCount = 0;
    for (let range = 0; range < 16; range++) {
      if (((ranges >>> (15 - range)) & 1) === 0) continue;
      const bytes = this.#bits(16);
      for (let i = 0; i < 16; i++) {
        if ((bytes >>> (15 - i)) & 1) this.#used[this.#usedCount++] = range * 16 + i;
      }
    }
    return this.#usedCount === 0 ? decodeStatus.noSymbols : decodeStatus.ok;
  }

  #decodeTables(): number {
    const groups = this.#bits(3);
    const selectors = this.#bits(15);
    if (groups < 2 || groups > maxGroups || selectors < 1) return decodeStatus.badGroupCount;
    const order = Array.from({ length: groups }, (_, i) => i);
    for (let i = 0; i < selectors; i++) {
      let steps = 0;
      while (this.#bits(1) === 1) if (++steps >= groups) return decodeStatus.badSelector;
      const [chosen] = order.splice(steps, 1) as [number];
      order.unshift(chosen);
      if (i < maxSelectors) this.#selectors[i] = chosen;
    }
    this.#selectorCount = Math.min(selectors, maxSelectors);
    for (const code of this.#codes.slice(0, groups)) {
      let length = this.#bits(5);
      for (let symbol = 0; symbol < this.#usedCount + 2; symbol++) {
        for (;;) {
          if (length < 1 || length > maxCodeLength) return decodeStatus.badCodeLength;
          if (this.#bit > this.#inputBits) return decodeStatus.cut;
          if (this.#bits(1) === 0) break;
          length += this.#bits(1) === 0 ? 1 : -1;
        }
        code.lengths[symbol] = length;
      }
      code.build(this.#usedCount + 2);
    }
    return decodeStatus.ok;
  }

  #decodeSymbols(lane: Lane): number {
    const view = this.#view;
    const symbols = this.#symbols;
    const counts = this.#counts.fill(0);
    const front = this.#used;
    const endSymbol = this.#usedCount + 1;
    let bit = this.#bit;
    let length = 0;
    let run = 0;
    let runUnit = 1;
    for (let group = 0; group < this.#selectorCount; group++) {
      const code = this.#codes[this.#selectors[group] as number] as Code;
      const primary = code.primary;
      if (bit > this.#inputBits) {
        this.#bit = bit;
        return decodeStatus.cut;
      }
      for (let i = 0; i < groupSymbols; i++) {
        // At least 25 bits of the input, at the top.
        const window = view.getUint32(bit >>> 3) << (bit & 7);
        let entry = primary[window >>> (32 - primaryBits)] as number;
        if (entry === 0) {
          entry = code.search(window);
          if (entry === 0) {
            this.#bit = bit + maxCodeLength;
            return decodeStatus.badCode;
          }
        }
        bit += entry & 31;
        const symbol = entry >>> 5;
        if (symbol <= 1) {
          if (runUnit > 1 << 20) {
            this.#bit = bit;
            return decodeStatus.tooLong;
          }
          run += runUnit << symbol;
          runUnit <<= 1;
          continue;
        }
        if (run > 0) {
          if (length + run > blockCapacity) {
            this.#bit = bit;
            return decodeStatus.tooLong;
          }
          const byte = front[0] as number;
          symbols.fill(byte, length, length + run);
          counts[byte] = (counts[byte] as number) + run;
          length += run;
          run = 0;
          runUnit = 1;
        }
        if (symbol === endSymbol) {
          this.#bit = bit;
          lane.length = length;
          return decodeStatus.ok;
        }
        if (length >= blockCapacity) {
          this.#bit = bit;
          return decodeStatus.tooLong;
        }
        const byte = front[symbol - 1] as number;
        if (symbol > 16) front.copyWithin(1, 0, symbol - 1);
        else for (let at = symbol - 1; at > 0; at--) front[at] = front[at - 1] as number;
        front[0] = byte;
        counts[byte] = (counts[byte] as number) + 1;
        symbols[length++] = byte;
      }
    }
    this.#bit = bit;
    return decodeStatus.badCode;
  }

  /**
   * Sorts the last column of the block's rotations: where each of its bytes stands in the first
   * one.
   */
  #permute(lane: Lane): void {
    const { permutation, length } = lane;
    const symbols = this.#symbols;
    const next = this.#counts;
    let sum = 0;
    for (let byte = 0; byte < 256; byte++) {
      const count = next[byte] as number;
      next[byte] = sum;
      sum += count;
    }
    for (let i = 0; i < length; i++) {
      const byte = symbols[i] as number;
      const row = next[byte] as number;
      next[byte] = row + 1;
      permutation[row] = (i << 8) | byte;
    }
  }
}

/**
 * A canonical code. It may be incomplete or oversubscribed; then shorter and lower codes win.
 */
class Code {
  readonly lengths = new Uint8Array(258);
  /** entry = symbol << 5 | length, by the first bits; 0: longer or unknown. */
  readonly primary = new Uint16Array(1 << primaryBits);
  readonly #sorted = new Uint16Array(258);
  readonly #first = new Int32Array(maxCodeLength + 1);
  readonly #last = new Int32Array(maxCodeLength + 1);
  readonly #index = new Int32Array(maxCodeLength + 1);

  build(symbols: number): void {
    const counts = new Int32Array(maxCodeLength + 1);
    for (let symbol = 0; symbol < symbols; symbol++) {
      const length = this.lengths[symbol] as number;
      counts[length] = (counts[length] as number) + 1;
    }
    this.primary.fill(0);
    let first = 0;
    let index = 0;
    for (let length = 1; length <= maxCodeLength; length++) {
      const count = counts[length] as number;
      this.#first[length] = first;
      this.#last[length] = first + count - 1;
      this.#index[length] = index;
      for (let symbol = 0, code = first; count > 0 && symbol < symbols; symbol++) {
        if (this.lengths[symbol] !== length) continue;
        this.#sorted[index++] = symbol;
        const shift = primaryBits - length;
        if (shift >= 0) this.primary.fill((symbol << 5) | length, code << shift, (code + 1) << shift);
        code++;
      }
      first = (first + count) << 1;
    }
  }

  search(window: number): number {
    for (let length = 1; length <= maxCodeLength; length++) {
      const code = window >>> (32 - length);
      const last = this.#last[length] as number;
      const first = this.#first[length] as number;
      if (last >= first && code <= last) {
        return ((this.#sorted[(this.#index[length] as number) + code - first] as number) << 5) | length;
      }
    }
    return 0;
  }
}

function follow(lane: Lane, from: number, start: number): void {
  const { permutation, bytes, length } = lane;
  let row = start;
  for (let i = from; i < length; i++) {
    const entry = permutation[row] as number;
    bytes[i] = entry;
    row = entry >>> 8;
  }
}

function follow4(a: Lane, b: Lane, c: Lane, d: Lane): void {
  const [pa, pb, pc, pd] = [a.permutation, b.permutation, c.permutation, d.permutation];
  const [ba, bb, bc, bd] = [a.bytes, b.bytes, c.bytes, d.bytes];
  let [ra, rb, rc, rd] = [a.origin, b.origin, c.origin, d.origin];
  const together = Math.min(a.length, b.length, c.length, d.length);
  for (let i = 0; i < together; i++) {
    const ea = pa[ra] as number;
    const eb = pb[rb] as number;
    const ec = pc[rc] as number;
    const ed = pd[rd] as number;
    ba[i] = ea;
    bb[i] = eb;
    bc[i] = ec;
    bd[i] = ed;
    ra = ea >>> 8;
    rb = eb >>> 8;
    rc = ec >>> 8;
    rd = ed >>> 8;
  }
  follow(a, together, ra);
  follow(b, together, rb);
  follow(c, together, rc);
  follow(d, together, rd);
}

/**
 * Takes a run of zeroes at the lane's position, if it is long: four zeroes and the number of
 * further ones, again and again.
 */
function zeroRun(lane: Lane): number {
  const { bytes, length } = lane;
  let read = lane.position;
  let total = 0;
  while (read + 4 < length && bytes[read] === 0) {
    if (bytes[read + 1] !== 0 || bytes[read + 2] !== 0 || bytes[read + 3] !== 0) break;
    total += 4 + (bytes[read + 4] as number);
    read += 5;
  }
  if (total < zeroRunBytes) return 0;
  lane.position = read;
  lane.register = addZeroes(lane.register, total);
  return total;
}
