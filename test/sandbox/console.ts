/** One line of a serial console. */
export interface ConsoleLine {
  /** Position among all lines of this machine, from 0; grows across reboots. */
  readonly index: number;
  /** Seconds from the start of the machine's process to the first byte of this line. */
  readonly seconds: number;
  /** The line without its end and without terminal control sequences. */
  readonly text: string;
}

/** What to wait for on a console. */
export interface WaitOptions {
  /**
   * The wait fails after this many seconds. Default: it lasts until the signal or the end of the
   * machine.
   */
  readonly timeoutSeconds?: number;
  /**
   * Looks only at lines after this one, for example those after a reboot. Default: every line since
   * the start.
   */
  readonly after?: ConsoleLine;
  readonly signal?: AbortSignal;
}

/**
 * What firmware, boot loaders and shells send to move the cursor and to colour: CSI sequences, and
 * the two-character escapes.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal's escape character is what is looked for
const terminalControl = /\u001b\[[0-9;?=]*[A-Za-z]|\u001b[^[]|[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g;

/**
 * The lines of a serial console: those seen so far are kept, so that a wait that begins late misses
 * nothing.
 */
export class SerialConsole {
  readonly #lines: ConsoleLine[] = [];
  readonly #startedAt = performance.now();
  readonly #changed = new EventTarget();
  readonly #decoder = new TextDecoder();
  #unfinished: { raw: string; seconds: number } | undefined;
  #ended: string | undefined;

  /** All complete lines so far. */
  get lines(): readonly ConsoleLine[] {
    return this.#lines;
  }

  /** Takes bytes from the machine. */
  feed(bytes: Uint8Array): void {
    for (const part of this.#decoder.decode(bytes, { stream: true }).split(/(?<=\n)/)) {
      if (part === '') continue;
      this.#unfinished ??= { raw: '', seconds: (performance.now() - this.#startedAt) / 1000 };
      this.#unfinished.raw += part;
      if (part.endsWith('\n')) this.#finishLine();
    }
    this.#changed.dispatchEvent(new Event('change'));
  }

  /** Says that nothing more will come; waits that are still open fail with `reason`. */
  end(reason: string): void {
    if (this.#unfinished !== undefined) this.#finishLine();
    this.#ended = reason;
    this.#changed.dispatchEvent(new Event('change'));
  }

  /**
   * The first complete line that matches `pattern`.
   * @throws {Error} the time is over or the machine has ended; with the last lines of the console
   */
  waitForLine(pattern: RegExp, options: WaitOptions): Promise<ConsoleLine> {
    return this.#waitFor(pattern, options, (next) => this.#lines.slice(next));
  }

  /**
   * As {@link waitForLine}, but for the line that has no end yet, as a prompt has none. It may
   * match before all of it has arrived.
   */
  waitForPrompt(pattern: RegExp, options: WaitOptions): Promise<ConsoleLine> {
    return this.#waitFor(pattern, options, (next) => this.#unfinishedFrom(next));
  }

  async #waitFor(
    pattern: RegExp,
    options: WaitOptions,
    candidates: (next: number) => readonly ConsoleLine[],
  ): Promise<ConsoleLine> {
    const deadline =
      options.timeoutSeconds === undefined
        ? new AbortController().signal
        : AbortSignal.timeout(options.timeoutSeconds * 1000);
    const signal = options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal]);
    let next = options.after === undefined ? 0 : options.after.index + 1;
    for (;;) {
      const found = candidates(next).find((line) => pattern.test(line.text));
      if (found !== undefined) return found;
      next = Math.max(next, this.#lines.length);
      if (this.#ended !== undefined) throw this.#failure(pattern, this.#ended);
      if (deadline.aborted) throw this.#failure(pattern, `nothing like it for ${options.timeoutSeconds} s`);
      signal.throwIfAborted();
      await this.#change(signal);
    }
  }

  #unfinishedFrom(index: number): ConsoleLine[] {
    if (this.#unfinished === undefined || this.#lines.length < index) return [];
    return [{ ...this.#clean(this.#unfinished), index: this.#lines.length }];
  }

  #finishLine(): void {
    if (this.#unfinished === undefined) return;
    this.#lines.push({ ...this.#clean(this.#unfinished), index: this.#lines.length });
    this.#unfinished = undefined;
  }

  #clean(line: { raw: string; seconds: number }): { text: string; seconds: number } {
    const text = line.raw.replace(/[\r\n]+$/, '').replaceAll(terminalControl, '');
    // What a carriage return went back over is no longer on the screen.
    return { text: text.slice(text.lastIndexOf('\r') + 1), seconds: line.seconds };
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const settle = (): void => {
        this.#changed.removeEventListener('change', settle);
        signal.removeEventListener('abort', settle);
        resolve();
      };
      this.#changed.addEventListener('change', settle);
      signal.addEventListener('abort', settle);
    });
  }

  #failure(pattern: RegExp, reason: string): Error {
    const last = [...this.#lines.slice(-20), ...this.#unfinishedFrom(0)].map((line) => `  ${line.text}`);
    return new Error(`waiting for ${pattern} on the console: ${reason}; its last lines:\n${last.join('\n')}`);
  }
}
