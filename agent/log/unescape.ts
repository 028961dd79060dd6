import { nibbles } from './digits.ts';

/** Bytes with the places of the text that they come from: first and end of each. */
export interface Unescaped {
  readonly bytes: Uint8Array;
  readonly begins: Int32Array;
  readonly ends: Int32Array;
  /** How many bytes at the end of the text are the beginning of an escape, and left out. */
  readonly cutBytes: number;
}

const backslash = 0x5c;
const percent = 0x25;

const simple: Readonly<Record<string, number>> = { b: 8, t: 9, n: 10, f: 12, r: 13 };

/**
 * The text without one layer of escapes: those of JSON and JavaScript (`\n`, `\/`, `\x2f`,
 * `\u002f`) and of URLs (`%2f`).
 * @param continues the text goes on: an escape may be cut at its end
 * @param begins places of the bytes of a text that was unescaped before
 * @returns `undefined`: nothing is escaped
 */
export function unescapeText(
  bytes: Uint8Array,
  continues: boolean,
  begins?: Int32Array,
  ends?: Int32Array,
): Unescaped | undefined {
  if (!hasEscape(bytes, continues)) return undefined;
  const out = new Uint8Array(bytes.length);
  const outBegins = new Int32Array(bytes.length);
  const outEnds = new Int32Array(bytes.length);
  let length = 0;
  const put = (byte: number, at: number, size: number) => {
    out[length] = byte;
    outBegins[length] = begins?.[at] ?? at;
    outEnds[length] = ends?.[at + size - 1] ?? at + size;
    length++;
  };
  let at = 0;
  while (at < bytes.length) {
    const byte = bytes[at] ?? 0;
    if (byte !== backslash && byte !== percent) {
      put(byte, at, 1);
      at++;
      continue;
    }
    if (continues && isCut(bytes, at)) break;
    // A code point may be longer in UTF-8 than one byte, never than its escape.
    const { value, size } = unitAt(bytes, at);
    for (const unescaped of value) put(unescaped, at, size);
    at += size;
  }
  return {
    bytes: out.subarray(0, length),
    begins: outBegins.subarray(0, length),
    ends: outEnds.subarray(0, length),
    cutBytes: bytes.length - at,
  };
}

function hasEscape(bytes: Uint8Array, continues: boolean): boolean {
  if (bytes.includes(backslash)) return true;
  if (continues) return bytes.includes(percent);
  for (let at = bytes.indexOf(percent); at !== -1; at = bytes.indexOf(percent, at + 1))
    if (hexAt(bytes, at + 1, 2) !== undefined) return true;
  return false;
}

/** Bytes of the longest escape: a code outside of the Basic Multilingual Plane. */
const maxEscapeBytes = 12;

const cutEscape = /^(?:%[\da-f]?|\\(?:x[\da-f]?|u[\da-f]{0,3}|ud[89ab][\da-f]{2}(?:\\(?:u[\da-f]{0,3})?)?)?)$/i;

/** Whether what follows the text may make one escape of its end. */
function isCut(bytes: Uint8Array, at: number): boolean {
  if (bytes.length - at >= maxEscapeBytes) return false;
  return cutEscape.test(String.fromCharCode(...bytes.subarray(at)));
}

interface Unit {
  readonly value: Uint8Array | readonly number[];
  /** How many bytes it is written with. */
  readonly size: number;
}

function unitAt(bytes: Uint8Array, at: number): Unit {
  const byte = bytes[at] ?? 0;
  if (byte === percent) {
    const code = hexAt(bytes, at + 1, 2);
    if (code !== undefined) return { value: [code], size: 3 };
  }
  if (byte !== backslash) return { value: [byte], size: 1 };
  const letter = String.fromCharCode(bytes[at + 1] ?? 0);
  if (letter === 'u') {
    const code = hexAt(bytes, at + 2, 4);
    if (code !== undefined) return { value: utf8(bytes, at, code), size: isPair(bytes, at, code) ? 12 : 6 };
  }
  if (letter === 'x') {
    const code = hexAt(bytes, at + 2, 2);
    if (code !== undefined) return { value: [code], size: 4 };
  }
  if (at + 1 >= bytes.length) return { value: [byte], size: 1 };
  return { value: [simple[letter] ?? bytes[at + 1] ?? 0], size: 2 };
}

/** Whether a code outside of the Basic Multilingual Plane is written as two (RFC 8259, 7). */
function isPair(bytes: Uint8Array, at: number, code: number): boolean {
  return lowHalfAt(bytes, at, code) !== undefined;
}

function lowHalfAt(bytes: Uint8Array, at: number, code: number): number | undefined {
  if (code < 0xd800 || code > 0xdbff || bytes[at + 6] !== backslash || bytes[at + 7] !== 0x75) return undefined;
  const low = hexAt(bytes, at + 8, 4);
  return low !== undefined && low >= 0xdc00 && low <= 0xdfff ? low : undefined;
}

function utf8(bytes: Uint8Array, at: number, code: number): Uint8Array | readonly number[] {
  if (code < 0x80) return [code];
  const low = lowHalfAt(bytes, at, code);
  const point = low === undefined ? code : 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  return new TextEncoder().encode(String.fromCodePoint(point));
}

function hexAt(bytes: Uint8Array, at: number, digits: number): number | undefined {
  if (at + digits > bytes.length) return undefined;
  let value = 0;
  for (let index = at; index < at + digits; index++) {
    const digit = nibbles[bytes[index] ?? 0] ?? -1;
    if (digit === -1) return undefined;
    value = value * 16 + digit;
  }
  return value;
}
