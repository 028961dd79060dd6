import { nibbles, sextets } from './digits.ts';
import { type SecretAutomaton, startState } from './secret-automaton.ts';
import { unescapeText } from './unescape.ts';

/** Bytes of a text that are to be masked: from the first one, included, to the last, excluded. */
export interface Range {
  readonly begin: number;
  readonly end: number;
}

/** So often may a text be escaped: JSON within JSON within a URL. */
const maxEscapes = 3;

const newline = 0x0a;
const carriageReturn = 0x0d;

/**
 * Finds secrets in a text that comes in one or several parts, plain, in Base64 (at any alignment,
 * since a secret may be in the middle of what was encoded, and of both alphabets), in hexadecimal
 * digits, and each of these within text that is escaped for JSON, JavaScript or a URL.
 */
export class SecretScanner {
  readonly #layers: [Layer, ...Layer[]];
  /** By layer: the beginning of an escape at the end of the last part. */
  readonly #cut: (Uint8Array | undefined)[] = [];
  /** Of the beginnings of secrets at the end of the last part. */
  #pending: { readonly begin: number; readonly bytes: number }[] = [];

  constructor(automaton: SecretAutomaton) {
    this.#layers = [new Layer(automaton)];
  }

  /**
   * The ranges in the next part of the text, in no order.
   * @param continues another part follows. Default: false
   */
  scan(part: Uint8Array, continues = false): Range[] {
    const ranges: Range[] = [];
    this.#pending = [];
    let text: Text | undefined = { bytes: part };
    for (let depth = 0; text !== undefined; depth++) {
      const layer = this.#layers[depth];
      if (layer === undefined) break;
      const { bytes, begins, ends }: Text = text;
      // Before this layer takes its part: up to here nothing was escaped.
      text = depth < maxEscapes ? this.#unescaped(depth, text, continues) : undefined;
      if (text !== undefined) this.#layers[depth + 1] ??= layer.copy();
      layer.scan(bytes, (first, last) => {
        const begin = Math.max(first, 0);
        const end = ends?.[last] ?? last + 1;
        // Not one that ends in an earlier part, where it was found before it was unescaped.
        if (end > 0) ranges.push({ begin: begins?.[begin] ?? begin, end });
      });
      const pendingBytes = layer.pendingBytes();
      const begin = Math.max(bytes.length - pendingBytes, 0);
      if (pendingBytes > 0) this.#pending.push({ begin: begins?.[begin] ?? begin, bytes: pendingBytes });
    }
    return ranges;
  }

  /**
   * Where the longest beginning of a secret, plain or encoded, begins that the text so far ends
   * with.
   * @param minBytes shorter ones are none
   * @returns place in the last part; `undefined`: there is none
   */
  pendingFrom(minBytes: number): number | undefined {
    const begins = this.#pending.filter(({ bytes }) => bytes >= minBytes).map(({ begin }) => begin);
    return begins.length === 0 ? undefined : Math.min(...begins);
  }

  /**
   * What the next layer takes of a part. A layer that an earlier part had takes each later one.
   */
  #unescaped(depth: number, { bytes, begins, ends }: Text, continues: boolean): Text | undefined {
    const cut = this.#cut[depth];
    const whole = cut === undefined ? { bytes, begins, ends } : joined(cut, { bytes, begins, ends });
    const unescaped = unescapeText(whole.bytes, continues, whole.begins, whole.ends);
    const cutBytes = unescaped?.cutBytes ?? 0;
    this.#cut[depth] = cutBytes === 0 ? undefined : whole.bytes.slice(-cutBytes);
    return unescaped ?? (this.#layers[depth + 1] && whole);
  }
}

/** The places of its bytes in the part; default: as they come. */
interface Text {
  readonly bytes: Uint8Array;
  readonly begins?: Int32Array | undefined;
  readonly ends?: Int32Array | undefined;
}

/** A text behind bytes of an earlier part. */
function joined(earlier: Uint8Array, { bytes, begins, ends }: Text): Text {
  const places = (of: Int32Array | undefined, first: number) =>
    Int32Array.from({ length: earlier.length + bytes.length }, (_, at) => {
      const place = at - earlier.length;
      return place < 0 ? 0 : (of?.[place] ?? place + first);
    });
  return { bytes: Buffer.concat([earlier, bytes]), begins: places(begins, 0), ends: places(ends, 1) };
}

/** Used again for each text. */
let places = new Int32Array(1024);

function placesFor(count: number): Int32Array {
  if (count > 65_536) return new Int32Array(count);
  if (places.length < count) places = new Int32Array(count);
  return places;
}

/**
 * A text of which nothing more is unescaped. Its loop runs for each character that an action
 * prints: it has no calls, unless a secret may begin.
 */
class Layer {
  readonly #automaton: SecretAutomaton;
  #plain = startState;
  /** By alignment: how many characters of Base64, modulo 4, precede the first byte. */
  readonly #base64 = new Int32Array(4);
  readonly #hex = new Int32Array(2);
  /** Characters of Base64 since the last other one, line ends apart. */
  #sextetCount = 0;
  #lastSextet = 0;
  /** Hexadecimal digits since the last other character. */
  #nibbleCount = 0;
  #lastNibble = 0;

  constructor(automaton: SecretAutomaton) {
    this.#automaton = automaton;
  }

  /** Another one that has taken the same text so far. */
  copy(): Layer {
    const other = new Layer(this.#automaton);
    other.#plain = this.#plain;
    other.#base64.set(this.#base64);
    other.#hex.set(this.#hex);
    [other.#sextetCount, other.#lastSextet] = [this.#sextetCount, this.#lastSextet];
    [other.#nibbleCount, other.#lastNibble] = [this.#nibbleCount, this.#lastNibble];
    return other;
  }

  /** @param onMatch gets the first and the last byte; the first may be in an earlier part */
  scan(bytes: Uint8Array, onMatch: (first: number, last: number) => void): void {
    const automaton = this.#automaton;
    const { fromStart } = automaton;
    const [base64, hex] = [this.#base64, this.#hex];
    let [plain, sextetCount, lastSextet] = [this.#plain, this.#sextetCount, this.#lastSextet];
    let [nibbleCount, lastNibble] = [this.#nibbleCount, this.#lastNibble];
    /** Where the characters of Base64 are. */
    const sextetsAt = placesFor(bytes.length);
    let inPart = 0;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      plain = plain === startState ? (fromStart[byte] ?? 0) : automaton.next(plain, byte);
      if (plain !== startState) {
        const length = automaton.matchedBytes(plain);
        if (length > 0) onMatch(at - length + 1, at);
      }

      const sextet = sextets[byte] ?? -1;
      if (sextet >= 0) {
        sextetsAt[inPart++] = at;
        // Three bytes are four characters: this one completes a byte in three of four alignments.
        const pair = (lastSextet << 6) | sextet;
        if (
          (base64[0] ?? 0) + (base64[1] ?? 0) + (base64[2] ?? 0) + (base64[3] ?? 0) > 0 ||
          (fromStart[pair >> 4] ?? 0) + (fromStart[(pair >> 2) & 0xff] ?? 0) + (fromStart[pair & 0xff] ?? 0) > 0
        ) {
          const length = this.#addSextets(pair, sextetCount);
          if (length > 0) onMatch(sextetsAt[inPart - length] ?? 0, at);
        }
        lastSextet = sextet;
        sextetCount++;
      } else if (sextetCount > 0 && byte !== newline && byte !== carriageReturn) {
        inPart = 0;
        sextetCount = 0;
        base64.fill(startState);
      }

      const nibble = nibbles[byte] ?? -1;
      if (nibble >= 0) {
        if (nibbleCount > 0) {
          const phase = nibbleCount & 1;
          const state = automaton.next(hex[phase] ?? 0, (lastNibble << 4) | nibble);
          hex[phase] = state;
          const length = 2 * automaton.matchedBytes(state);
          if (length > 0) onMatch(at - length + 1, at);
        }
        lastNibble = nibble;
        nibbleCount++;
      } else if (nibbleCount > 0) {
        nibbleCount = 0;
        hex.fill(startState);
      }
    }
    [this.#plain, this.#sextetCount, this.#lastSextet] = [plain, sextetCount, lastSextet];
    [this.#nibbleCount, this.#lastNibble] = [nibbleCount, lastNibble];
  }

  pendingBytes(): number {
    const [a = 0, b = 0, c = 0, d = 0] = this.#base64;
    const [e = 0, f = 0] = this.#hex;
    if (a + b + c + d + e + f === 0) return this.#automaton.pendingBytes(this.#plain);
    const inBase64 = Math.max(...[...this.#base64].map((state) => this.#automaton.pendingBytes(state)));
    const inHex = Math.max(...[...this.#hex].map((state) => this.#automaton.pendingBytes(state)));
    const plain = this.#automaton.pendingBytes(this.#plain);
    return Math.max(plain, inBase64 < 3 ? 0 : Math.ceil((inBase64 * 4) / 3) + 2, inHex < 3 ? 0 : inHex * 2 + 1);
  }

  /**
   * @param pair the last two characters, of six bits each
   * @param count of characters before the last one
   * @returns how many characters the longest secret takes that ends here; 0: none
   */
  #addSextets(pair: number, count: number): number {
    let longest = 0;
    for (let place = 1; place <= 3 && place <= count; place++) {
      // The last byte ends in this character, `place` characters after the start of its group.
      const alignment = (count - place) & 3;
      const unusedBits = 6 - 2 * place;
      const state = this.#automaton.next(this.#base64[alignment] ?? startState, (pair >> unusedBits) & 0xff);
      this.#base64[alignment] = state;
      const length = this.#automaton.matchedBytes(state);
      if (length > 0) longest = Math.max(longest, Math.ceil((8 * length + unusedBits) / 6));
    }
    return longest;
  }
}
