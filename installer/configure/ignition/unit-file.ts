/** The sections of a unit file. */
export interface UnitFile {
  /** Those with at least one option. */
  readonly sections: ReadonlySet<string>;
  /** The reason why it cannot be read; undefined if it can. */
  readonly error: string | undefined;
}

/**
 * Reads a unit file as Ignition does, to detect what it would refuse at first boot. Source:
 * systemd.syntax(7), and the reader of https://pkg.go.dev/github.com/coreos/go-systemd/v22/unit.
 */
export function readUnitFile(contents: string): UnitFile {
  const sections = new Set<string>();
  const reader = new Reader(Buffer.from(contents));
  try {
    readSections(reader, sections);
    return { sections, error: undefined };
  } catch (error) {
    if (!(error instanceof UnitFileError)) throw error;
    return { sections, error: error.message };
  }
}

class UnitFileError extends Error {}

const lineLimitBytes = 2048;
const newline = 0x0a;
const carriageReturn = 0x0d;
const backslash = 0x5c;

function readSections(reader: Reader, sections: Set<string>): void {
  let section: string | undefined;
  for (;;) {
    reader.checkLine();
    const byte = reader.next();
    if (byte === undefined) return;
    if (byte === 0x5b) {
      section = readSectionName(reader);
    } else if (byte === 0x23 || byte === 0x3b) {
      skipComment(reader);
    } else if (section !== undefined && !reader.skipSpace(byte)) {
      reader.back();
      readOption(reader);
      sections.add(section);
    }
    // Text before the first section is skipped, as by Ignition.
  }
}

function readSectionName(reader: Reader): string {
  reader.checkLine();
  const name = reader.until(0x5d);
  if (name.at(-1) !== 0x5d) throw new UnitFileError('a section has no closing bracket');
  reader.checkLine();
  const rest = trimSpace(reader.line().toString());
  if (rest !== '') throw new UnitFileError(`${JSON.stringify(rest)} stands after the name of a section`);
  return name.subarray(0, -1).toString();
}

function skipComment(reader: Reader): void {
  reader.checkLine();
  for (;;) {
    const line = reader.line();
    const end = line.at(-1) === 0x20 ? line.length - 2 : line.length - 1;
    if (line[end] !== backslash) return;
  }
}

function readOption(reader: Reader): void {
  reader.checkLine();
  const name: number[] = [];
  for (let byte = reader.next(); byte !== 0x3d; byte = reader.next()) {
    if (byte === undefined) throw new UnitFileError('the last line has no equals sign');
    if (byte === newline || byte === carriageReturn) {
      throw new UnitFileError(`the line ${JSON.stringify(Buffer.from(name).toString())} has no equals sign`);
    }
    name.push(byte);
  }
  for (;;) {
    reader.checkLine();
    const line = reader.line();
    if (line.at(-1) !== backslash || trimSpace(line.toString()) === '') return;
  }
}

/** As Go's `unicode.IsSpace`: without the byte order mark that JavaScript takes as space. */
const space = String.raw`[\t-\r \x85\xA0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]`;
const leadingSpace = new RegExp(`^${space}`);
const outerSpace = new RegExp(`^${space}+|${space}+$`, 'g');

function trimSpace(text: string): string {
  return text.replace(outerSpace, '');
}

/**
 * Bytes in the portions in which Ignition reads them. Its check for long lines depends on them, and
 * this check must agree with it.
 */
class Reader {
  readonly #bytes: Buffer;
  readonly #portionBytes = 4096;
  #offset = 0;
  #end = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  checkLine(): void {
    if (this.#end - this.#offset < lineLimitBytes) return;
    const ahead = this.#bytes.subarray(this.#offset, this.#offset + lineLimitBytes);
    if (ahead.includes(newline) || ahead.includes(carriageReturn)) return;
    throw new UnitFileError(`a line is longer than ${lineLimitBytes} bytes`);
  }

  next(): number | undefined {
    if (this.#offset === this.#end) this.#fill();
    const byte = this.#bytes[this.#offset];
    if (byte !== undefined) this.#offset++;
    return byte;
  }

  /** Whether the character that starts with `byte`, which was just read, is a space. */
  skipSpace(byte: number): boolean {
    const length = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : 3;
    const character = this.#bytes.subarray(this.#offset - 1, this.#offset - 1 + length).toString();
    if (!leadingSpace.test(character)) return false;
    for (let skipped = 1; skipped < length; skipped++) this.next();
    return true;
  }

  back(): void {
    this.#offset--;
  }

  /** Up to and including `delimiter`, or to the end if there is none. */
  until(delimiter: number): Buffer {
    const start = this.#offset;
    const found = this.#bytes.indexOf(delimiter, start);
    const stop = found < 0 ? this.#bytes.length : found + 1;
    while (this.#end < stop) {
      if (this.#end - this.#offset === this.#portionBytes) this.#offset = this.#end;
      this.#fill();
    }
    this.#offset = stop;
    return this.#bytes.subarray(start, stop);
  }

  /** Without the line feed; a carriage return before it stays, as with Ignition. */
  line(): Buffer {
    const line = this.until(newline);
    return line.at(-1) === newline ? line.subarray(0, -1) : line;
  }

  #fill(): void {
    this.#end = Math.min(this.#offset + this.#portionBytes, this.#bytes.length);
  }
}
