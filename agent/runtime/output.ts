import type { Readable } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import type { Clock } from '../../clock/clock.ts';

/** A line of a container's output, without its line end. */
export interface OutputLine {
  readonly stream: 'stdout' | 'stderr';
  /** Invalid UTF-8 is replaced. Of text that was overwritten by carriage returns, as progress bars do, only the last is kept. */
  readonly line: string;
  /** The line is longer than the limit; its rest comes as the next line of this stream. */
  readonly continues: boolean;
}

export interface OutputOptions {
  readonly clock: Clock;
  /** Longer lines come in pieces. Unit: bytes. Default: 16 KiB. */
  readonly maxLineBytes?: number;
  /** A promise holds up the source, and in the end the container, until it is settled. */
  readonly onLine: (line: OutputLine) => void | Promise<void>;
}

/** Turns an engine's output streams into lines with a fixed amount of memory. Survives a change of the source in the middle. */
export interface OutputReader {
  /** Reads a source to its end. Throws what the source throws, and if the source does not have Docker's format. */
  read(source: Readable): Promise<void>;
  /** No source follows: passes on the last lines that have no line end. */
  end(): Promise<void>;
  /** The last lines that say something, oldest first: at most five of at most 300 characters each, fit for one line of text. */
  lastLines(): readonly string[];
}

type StreamName = OutputLine['stream'];

/** Makes a reader of Docker's multiplexed format (engine API, "Attach to a container", "Stream format"). */
export function createOutputReader({ clock, maxLineBytes = 16 * 1024, onLine }: OutputOptions): OutputReader {
  const tail = new Tail(clock);
  const pass = (stream: StreamName) => (line: string, continues: boolean) => {
    tail.add(stream, line, continues);
    return onLine({ stream, line, continues });
  };
  const splitters = {
    stdout: new LineSplitter(maxLineBytes, pass('stdout')),
    stderr: new LineSplitter(maxLineBytes, pass('stderr')),
  };
  return {
    async read(source) {
      const frames = new FrameReader((stream, payload) => splitters[stream].push(payload));
      for await (const chunk of source) await frames.push(chunk);
    },
    async end() {
      await splitters.stdout.end();
      await splitters.stderr.end();
    },
    lastLines: () => tail.lines(),
  };
}

/** Undoes the multiplexing. A frame is [type, 0, 0, 0, length as 4 bytes, big endian] and the payload; chunks end anywhere. */
class FrameReader {
  readonly #header = Buffer.alloc(8);
  #headerBytes = 0;
  #stream: StreamName = 'stdout';
  #payloadBytes = 0;
  readonly #onPayload: (stream: StreamName, payload: Buffer) => Promise<void>;

  constructor(onPayload: (stream: StreamName, payload: Buffer) => Promise<void>) {
    this.#onPayload = onPayload;
  }

  async push(chunk: Buffer): Promise<void> {
    let offset = 0;
    while (offset < chunk.length) {
      if (this.#payloadBytes === 0) {
        offset += this.#takeHeader(chunk, offset);
      } else {
        const end = Math.min(chunk.length, offset + this.#payloadBytes);
        this.#payloadBytes -= end - offset;
        await this.#onPayload(this.#stream, chunk.subarray(offset, end));
        offset = end;
      }
    }
  }

  #takeHeader(chunk: Buffer, offset: number): number {
    const copied = chunk.copy(this.#header, this.#headerBytes, offset, offset + 8 - this.#headerBytes);
    this.#headerBytes += copied;
    if (this.#headerBytes === 8) {
      const type = this.#header.readUInt32LE(0);
      if (type > 3) throw new Error(`the engine's output stream has a frame of the unknown type ${type}`);
      // 1 is standard output; 2 standard error; 3 an error of the engine itself about this stream.
      this.#stream = type >= 2 ? 'stderr' : 'stdout';
      this.#payloadBytes = this.#header.readUInt32BE(4);
      this.#headerBytes = 0;
    }
    return copied;
  }
}

/** Cuts bytes into lines of a limited length. */
class LineSplitter {
  readonly #held: Buffer;
  #heldBytes = 0;
  readonly #onLine: (line: string, continues: boolean) => void | Promise<void>;

  constructor(maxLineBytes: number, onLine: (line: string, continues: boolean) => void | Promise<void>) {
    this.#held = Buffer.alloc(maxLineBytes);
    this.#onLine = onLine;
  }

  async push(chunk: Buffer): Promise<void> {
    let offset = 0;
    while (offset < chunk.length) {
      const newline = chunk.indexOf(0x0a, offset);
      const lineEnd = newline === -1 ? chunk.length : newline;
      const copied = chunk.copy(this.#held, this.#heldBytes, offset, lineEnd);
      this.#heldBytes += copied;
      offset += copied;
      // A promise is awaited only if there is one: an await for each of millions of lines costs more than all the rest.
      let passed: Promise<void> | undefined;
      if (offset === newline) {
        passed = this.#pass(this.#heldBytes, false) ?? undefined;
        offset += 1;
      } else if (this.#heldBytes === this.#held.length) {
        passed = this.#pass(wholeCharacters(this.#held), true) ?? undefined;
      }
      if (passed !== undefined) await passed;
    }
  }

  async end(): Promise<void> {
    if (this.#heldBytes > 0) await this.#pass(this.#heldBytes, false);
  }

  #pass(length: number, continues: boolean): void | Promise<void> {
    const line = asShown(this.#held.toString('utf8', 0, length));
    this.#held.copyWithin(0, length, this.#heldBytes);
    this.#heldBytes -= length;
    return this.#onLine(line, continues);
  }
}

/** The length without a UTF-8 sequence that is cut at the end (RFC 3629, section 3). */
function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length - 1); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needed > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/** What a terminal would show of a line: what follows the last carriage return, those at the end apart. */
function asShown(line: string): string {
  if (!line.includes('\r')) return line;
  const text = line.replace(/\r+$/, '');
  return text.slice(text.lastIndexOf('\r') + 1);
}

interface KeptLine {
  readonly line: string;
  readonly arrivedAtSeconds: number;
}

/**
 * Engines copy the two streams independently of each other: of lines that arrive within so much time nobody can say which was printed first. A busy machine
 * takes that long now and then. Unit: seconds.
 */
const simultaneousSeconds = 0.25;

/** The end of the output. Lines are made presentable only when somebody asks, for there may be millions. */
class Tail {
  readonly #clock: Clock;
  readonly #kept: Record<StreamName, KeptLine[]> = { stdout: [], stderr: [] };
  readonly #inside = { stdout: false, stderr: false };

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(stream: StreamName, line: string, continues: boolean): void {
    const isRest = this.#inside[stream];
    this.#inside[stream] = continues;
    if (isRest || line === '') return;
    const kept = this.#kept[stream];
    kept.push({ line, arrivedAtSeconds: this.#clock.monotonicSeconds() });
    if (kept.length > 12) kept.shift();
  }

  lines(): readonly string[] {
    const presentable = this.#inOrder().map((line) =>
      stripVTControlCharacters(line)
        .replaceAll(/[\p{Cc}\p{Zs}]+/gu, ' ')
        .trim(),
    );
    return presentable
      .filter((line) => line !== '')
      .slice(-5)
      .map((line) => (line.length > 300 ? `${line.slice(0, 299)}…` : line));
  }

  /** Where the order cannot be told, standard error is last: it says why. */
  #inOrder(): string[] {
    const [stdout, stderr] = [[...this.#kept.stdout], [...this.#kept.stderr]];
    const ordered: string[] = [];
    for (;;) {
      const [out, error] = [stdout.at(-1), stderr.at(-1)];
      if (out === undefined && error === undefined) return ordered.reverse();
      const isOut =
        error === undefined ||
        (out !== undefined && out.arrivedAtSeconds > error.arrivedAtSeconds + simultaneousSeconds);
      const next = isOut ? stdout.pop() : stderr.pop();
      if (next !== undefined) ordered.push(next.line);
    }
  }
}
