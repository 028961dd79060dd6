/** A JSON value with its place in the text. Strings are decoded on demand: they can be large. */
export type JsonNode =
  | { readonly kind: 'object'; readonly start: number; readonly members: readonly JsonMember[] }
  | { readonly kind: 'array'; readonly start: number; readonly elements: readonly JsonNode[] }
  | { readonly kind: 'string' | 'number'; readonly start: number; readonly end: number }
  | { readonly kind: 'true' | 'false' | 'null'; readonly start: number };

/** Duplicate keys stay, in their order. */
export interface JsonMember {
  readonly key: string;
  readonly keyStart: number;
  readonly value: JsonNode;
}

/** The reason why a text is not JSON, and where, as an offset in bytes. */
export class JsonSyntaxError extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/** As Go's `encoding/json`, which Ignition uses. */
const maxDepth = 10_000;

/**
 * Parses JSON as Go's `encoding/json` does: bytes that are not UTF-8 are allowed in strings, keys
 * may be duplicate, numbers keep their text. `JSON.parse` loses all of that. Does not recurse, so
 * that nested input cannot exhaust the stack.
 * Source: RFC 8259 and https://pkg.go.dev/encoding/json.
 * @throws {JsonSyntaxError}
 */
export function parseJson(bytes: Buffer): JsonNode {
  return new Parser(bytes).parse();
}

type Container =
  | { readonly kind: 'object'; readonly start: number; readonly members: JsonMember[] }
  | { readonly kind: 'array'; readonly start: number; readonly elements: JsonNode[] };

class Parser {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  parse(): JsonNode {
    const open: Container[] = [];
    /** Of the members that are not complete yet, one for each open object. */
    const keys: { readonly key: string; readonly keyStart: number }[] = [];
    for (;;) {
      this.#skipSpace();
      let value: JsonNode | undefined = this.#value(open);
      if (value === undefined) {
        // A container was opened: its first member or element is next, or its end.
        const container = last(open);
        this.#skipSpace();
        if (this.#peek() !== closing(container)) {
          if (container.kind === 'object') keys.push(this.#key());
          continue;
        }
        this.#offset++;
        value = open.pop() ?? container;
      }
      let result: JsonNode | undefined = value;
      while (result !== undefined) {
        const container: Container | undefined = open.at(-1);
        if (container === undefined) return this.#end(result);
        if (container.kind === 'object') container.members.push({ ...last(keys), value: result });
        else container.elements.push(result);
        this.#skipSpace();
        if (this.#peek() === 0x2c) {
          this.#offset++;
          this.#skipSpace();
          if (container.kind === 'object') keys[keys.length - 1] = this.#key();
          result = undefined;
        } else if (this.#peek() === closing(container)) {
          this.#offset++;
          if (container.kind === 'object') keys.pop();
          result = open.pop();
        } else {
          throw this.#unexpected(`a comma or ${container.kind === 'object' ? '}' : ']'} is missing before`);
        }
      }
    }
  }

  /** A scalar; undefined if a container was opened. */
  #value(open: Container[]): JsonNode | undefined {
    const start = this.#offset;
    const byte = this.#peek();
    if (byte === 0x7b || byte === 0x5b) {
      if (open.length >= maxDepth) throw this.#error(`it is nested more than ${maxDepth} levels deep`);
      this.#offset++;
      open.push(byte === 0x7b ? { kind: 'object', start, members: [] } : { kind: 'array', start, elements: [] });
      return undefined;
    }
    if (byte === 0x22) return this.#string();
    if (byte === 0x2d || isDigit(byte)) return this.#number();
    for (const kind of ['true', 'false', 'null'] as const) {
      if (byte === kind.charCodeAt(0)) return this.#literal(kind);
    }
    throw this.#unexpected('unexpected');
  }

  #key(): { key: string; keyStart: number } {
    if (this.#peek() !== 0x22) throw this.#unexpected('a key in double quotes is missing before');
    const { start: keyStart, end } = this.#string();
    this.#skipSpace();
    if (this.#peek() !== 0x3a) throw this.#unexpected('a colon is missing before');
    this.#offset++;
    return { key: decodeString(this.#bytes, keyStart, end), keyStart };
  }

  #string(): { kind: 'string'; start: number; end: number } {
    const start = this.#offset++;
    for (;;) {
      const byte = this.#peek();
      if (byte === undefined) throw new JsonSyntaxError('a string without its closing quote starts', start);
      if (byte < 0x20) {
        const isLineBreak = byte === 0x0a || byte === 0x0d;
        const what = isLineBreak ? 'without its closing quote' : `with the control character ${byte}, unescaped,`;
        throw new JsonSyntaxError(`a string ${what} starts`, start);
      }
      this.#offset++;
      if (byte === 0x22) return { kind: 'string', start, end: this.#offset };
      if (byte === 0x5c) this.#escape();
    }
  }

  #escape(): void {
    const byte = this.#peek();
    if (byte === 0x75) {
      const digits = this.#bytes.subarray(this.#offset + 1, this.#offset + 5).toString('latin1');
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw this.#error('\\u needs four hexadecimal digits');
      this.#offset += 5;
    } else if (byte !== undefined && '"\\/bfnrt'.includes(String.fromCharCode(byte))) {
      this.#offset++;
    } else {
      throw this.#unexpected('a backslash cannot stand before');
    }
  }

  #number(): JsonNode {
    const start = this.#offset;
    if (this.#peek() === 0x2d) this.#offset++;
    if (this.#peek() === 0x30) this.#offset++;
    else this.#digits();
    if (this.#peek() === 0x2e) {
      this.#offset++;
      this.#digits();
    }
    if (this.#peek() === 0x65 || this.#peek() === 0x45) {
      this.#offset++;
      if (this.#peek() === 0x2b || this.#peek() === 0x2d) this.#offset++;
      this.#digits();
    }
    return { kind: 'number', start, end: this.#offset };
  }

  #digits(): void {
    if (!isDigit(this.#peek())) throw this.#unexpected('a digit is missing before');
    while (isDigit(this.#peek())) this.#offset++;
  }

  #literal(kind: 'true' | 'false' | 'null'): JsonNode {
    const start = this.#offset;
    for (const letter of kind) {
      if (this.#peek() === undefined) throw this.#error('it ends too early');
      if (this.#peek() !== letter.charCodeAt(0)) throw new JsonSyntaxError(`${kind} is misspelled`, start);
      this.#offset++;
    }
    return { kind, start };
  }

  #end(top: JsonNode): JsonNode {
    this.#skipSpace();
    if (this.#offset < this.#bytes.length) throw this.#unexpected('the config ends before');
    return top;
  }

  #skipSpace(): void {
    for (;;) {
      const byte = this.#peek();
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      this.#offset++;
    }
  }

  #peek(): number | undefined {
    return this.#bytes[this.#offset];
  }

  #unexpected(what: string): JsonSyntaxError {
    if (this.#offset >= this.#bytes.length) return this.#error('it ends too early');
    const [character = ''] = this.#bytes.subarray(this.#offset, this.#offset + 4).toString();
    return this.#error(`${what} ${JSON.stringify(character)}`);
  }

  #error(message: string): JsonSyntaxError {
    return new JsonSyntaxError(message, this.#offset);
  }
}

function last<T>(list: readonly T[]): T {
  const item = list.at(-1);
  if (item === undefined) throw new RangeError('the list is empty');
  return item;
}

function closing(container: Container): number {
  return container.kind === 'object' ? 0x7d : 0x5d;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

/**
 * The text of a string with its quotes from `start` to `end`. As in Go, each byte that is not UTF-8
 * and each surrogate without its other half becomes U+FFFD.
 */
export function decodeString(bytes: Buffer, start: number, end: number): string {
  const raw = bytes.subarray(start + 1, end - 1);
  const text = decodeUtf8(raw);
  return raw.includes(0x5c) ? decodeEscapes(text).toWellFormed() : text;
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeUtf8(bytes: Buffer): string {
  try {
    return strict.decode(bytes);
  } catch {
    return decodeBytewise(bytes);
  }
}

/** TextDecoder replaces several invalid bytes by one character; Go replaces each. */
function decodeBytewise(bytes: Buffer): string {
  const parts: string[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const length = sequenceLength(bytes[offset] ?? 0);
    const sequence = bytes.subarray(offset, offset + length);
    const text = sequence.length === length ? sequence.toString() : '\uFFFD';
    const valid = text !== '\uFFFD' || sequence.equals(Buffer.from('\uFFFD'));
    parts.push(valid && [...text].length === 1 ? text : '\uFFFD');
    offset += valid && [...text].length === 1 ? length : 1;
  }
  return parts.join('');
}

/** In bytes, by the first byte; 1 also for those that start none. */
function sequenceLength(first: number): number {
  if (first >= 0xf0) return first < 0xf8 ? 4 : 1;
  if (first >= 0xe0) return 3;
  return first >= 0xc0 ? 2 : 1;
}

const simpleEscapes: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

function decodeEscapes(text: string): string {
  return text.replace(/\\(?:u([0-9a-fA-F]{4})|(.))/gs, (_, hexadecimal: string | undefined, letter: string) =>
    hexadecimal === undefined
      ? (simpleEscapes[letter] ?? letter)
      : String.fromCharCode(Number.parseInt(hexadecimal, 16)),
  );
}
