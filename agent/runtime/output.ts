import type { Clock } from '../../clock/clock.ts';
import { printable } from '../../text/printable.ts';
import type { Output, OutputChunk } from './engine.ts';

/** A line of a container's output, without its line end. */
export interface OutputLine {
  readonly stream: 'stdout' | 'stderr';
  /**
   * Invalid UTF-8 is replaced. Of text that was overwritten by carriage returns, as progress bars
   * do, only the last is kept.
   */
  readonly line: string;
  /** The line is longer than the limit; its rest comes as the next line of this stream. */
  readonly continues: boolean;
}

export interface OutputOptions {
  readonly clock: Clock;
  /** Longer lines come in parts. Default: 16 KiB. */
  readonly maxLineBytes?: number;
  /**
   * A promise stops the reading until it is settled: back-pressure to the source, and in the end to
   * the container.
   */
  readonly onLine: (line: OutputLine) => void | Promise<void>;
  /**
   * Masks secrets in what is cut: lines that come in parts, and the last lines. Other lines are
   * masked where they are written. Default: nothing is masked.
   */
  readonly masking?: OutputMasking;
}

export interface OutputMasking {
  readonly redact: (text: string) => string;
  /** For one text in parts; `continues`: another part follows. */
  readonly redactParts: () => (part: string, continues: boolean) => string;
}

const noMasking: OutputMasking = { redact: (text) => text, redactParts: () => (part) => part };

/**
 * Turns what a container prints into lines, with a fixed amount of memory. Survives a change of the
 * source in the middle.
 */
export interface OutputReader {
  /**
   * Reads a source to its end.
   * @throws what the source throws
   */
  read(source: Output): Promise<void>;
  /** No source follows: passes on the last lines, which have no line end. */
  end(): Promise<void>;
  /**
   * The last lines that are not empty, oldest first: at most five of at most 300 characters each,
   * as text without control characters.
   */
  lastLines(): readonly string[];
}

type StreamName = OutputChunk['stream'];

/** Makes a reader for the output of one container. */
export function createOutputReader({
  clock,
  maxLineBytes = 16 * 1024,
  onLine,
  masking = noMasking,
}: OutputOptions): OutputReader {
  const tail = new Tail(clock, masking.redact);
  const pass = (stream: StreamName) => {
    let redactPart: ReturnType<OutputMasking['redactParts']> | undefined;
    return (text: string, continues: boolean) => {
      if (continues) redactPart ??= masking.redactParts();
      const line = redactPart?.(text, continues) ?? text;
      if (!continues) redactPart = undefined;
      tail.add(stream, line, continues);
      return onLine({ stream, line, continues });
    };
  };
  const splitters = {
    stdout: new LineSplitter(maxLineBytes, pass('stdout')),
    stderr: new LineSplitter(maxLineBytes, pass('stderr')),
  };
  return {
    async read(source) {
      for await (const { stream, bytes } of source) await splitters[stream].push(bytes);
    },
    async end() {
      await splitters.stdout.end();
      await splitters.stderr.end();
    },
    lastLines: () => tail.lines(),
  };
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
      // A promise is awaited only if there is one: an await for each of millions of lines costs
      // more than all the rest.
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

/**
 * What a terminal would show of a line: what follows the last carriage return, those at the end
 * apart.
 */
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
 * Engines copy the two streams independently of each other: the order of lines that arrive within
 * this time is not known. A busy machine takes that long now and then.
 */
const simultaneousSeconds = 0.25;

/**
 * The end of the output. Lines are made presentable only when they are asked for: there may be
 * millions.
 */
class Tail {
  readonly #clock: Clock;
  readonly #kept: Record<StreamName, KeptLine[]> = { stdout: [], stderr: [] };
  readonly #inside = { stdout: false, stderr: false };

  readonly #redact: (text: string) => string;

  constructor(clock: Clock, redact: (text: string) => string) {
    this.#clock = clock;
    this.#redact = redact;
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
      printable(this.#redact(line))
        .replaceAll(/\p{Zs}+/gu, ' ')
        .trim(),
    );
    return presentable
      .filter((line) => line !== '')
      .slice(-5)
      .map(this.#redact) // again: a control character may have been within a secret
      .map((line) => (line.length > 300 ? `${line.slice(0, 299)}…` : line));
  }

  /** Where the order is not known, standard error is last: it says why. */
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
