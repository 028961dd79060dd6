import { reasonOf } from '../../errors/reason.ts';
import type { Output } from './engine.ts';
import type { EngineConnection } from './engine-connection.ts';
import { EngineError, isEngineError } from './engine-error.ts';
import { createOutputReader, type OutputLine, type OutputMasking, type OutputReader } from './output.ts';

export interface OutputCopyOptions {
  /** A promise applies back-pressure to the container, for a limited time after its exit. */
  onLine(line: OutputLine): void | Promise<void>;
  onWarning(message: string): void;
  readonly masking: OutputMasking;
}

/** Without a line for this time after the exit, the rest of the output is given up. */
const drainTimeoutSeconds = 5;

/**
 * After this time the report of the exit does not wait for a slow reader any more. The engine and
 * the connection to it hold up to a few MiB of output that the reader has not taken at the exit.
 */
const slowReaderSeconds = 3;

/**
 * Copies what a container prints, from its start until after its exit; after an outage of the
 * engine, from where it was.
 */
export class OutputCopy {
  readonly #connection: EngineConnection;
  readonly #container: { readonly id: string; readonly name: string };
  readonly #options: OutputCopyOptions;
  readonly #signal: AbortSignal;
  readonly #reader: OutputReader;
  readonly #exited = Promise.withResolvers<true>();
  #waitsForReader = true;
  /** Ends the back-pressure of a line. */
  #releaseLine: (() => void) | undefined;
  #lastLineAt: Date;

  /** @param signal ends the copying */
  constructor(
    connection: EngineConnection,
    container: { readonly id: string; readonly name: string },
    options: OutputCopyOptions,
    signal: AbortSignal,
  ) {
    this.#connection = connection;
    this.#container = container;
    this.#options = options;
    this.#signal = signal;
    const { clock } = connection;
    this.#lastLineAt = clock.now();
    const onLine = (line: OutputLine) => {
      this.#lastLineAt = clock.now();
      return this.#whilePatient(options.onLine(line));
    };
    this.#reader = createOutputReader({ clock, onLine, masking: options.masking });
  }

  /** Called before the container starts, so that nothing is lost. */
  async attach(): Promise<Output> {
    const { id } = this.#container;
    return await this.#connection.call((engine, limited) => engine.attach(id, limited), this.#signal);
  }

  /**
   * Copies until the container has exited and all its output was read. Never rejects: what is lost
   * is a warning.
   * @param attached `undefined`: the container was started by another agent
   */
  async run(attached: Output | undefined): Promise<void> {
    let output = attached;
    let since = new Date(0);
    try {
      for (;;) {
        const outages = this.#connection.outages();
        output ??= await this.#followLog(since);
        if (output === undefined) return;
        await this.#readToEnd(output);
        const hasExited = (await this.#exitsWithin(0.1)) || (await this.#isExited());
        if (hasExited && this.#connection.outages() === outages) return;
        since = this.#lastLineAt;
        output = undefined;
      }
    } catch (error) {
      if (this.#signal.aborted || isEngineError(error, 'no-such-container')) return;
      const why = error instanceof EngineError ? error.why : reasonOf(error);
      this.#options.onWarning(`the rest of the output of ${this.#container.name} is lost: ${why}`);
    }
  }

  /**
   * The container has exited: waits for the rest of its output as long as lines arrive. A process
   * outside of the container may hold its output open without limit.
   * @param copied what {@link run} returned
   * @returns the last lines, see {@link OutputReader.lastLines}
   */
  async drain(copied: Promise<void>): Promise<readonly string[]> {
    this.#exited.resolve(true);
    let isDone = false;
    const done = copied.finally(() => {
      isDone = true;
    });
    const { clock } = this.#connection;
    using _ = clock.schedule(slowReaderSeconds, () => {
      this.#waitsForReader = false;
      this.#releaseLine?.();
    });
    const exitedAt = clock.now().getTime();
    for (;;) {
      const pause = Promise.withResolvers<void>();
      using _ = clock.schedule(0.5, pause.resolve);
      await Promise.race([done, pause.promise]);
      const quietSince = Math.max(exitedAt, this.#lastLineAt.getTime());
      if (isDone || clock.now().getTime() - quietSince > drainTimeoutSeconds * 1000) break;
    }
    await this.#reader.end();
    return this.#reader.lastLines();
  }

  #whilePatient(held: void | Promise<void>): Promise<void> | undefined {
    if (held === undefined || !this.#waitsForReader) return undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#releaseLine = resolve;
    void held.then(resolve);
    return promise;
  }

  async #readToEnd(output: Output): Promise<void> {
    try {
      await this.#reader.read(output);
    } catch (error) {
      this.#signal.throwIfAborted();
      // The engine went away: the log is followed once it is back.
      if (!isEngineError(error, 'unavailable')) throw error;
    }
  }

  /**
   * The exit is mostly known at the time when the output ends: then the engine need not be asked.
   */
  async #exitsWithin(seconds: number): Promise<boolean> {
    const late = Promise.withResolvers<false>();
    using _ = this.#connection.clock.schedule(seconds, () => late.resolve(false));
    const stop = () => late.reject(this.#signal.reason);
    this.#signal.addEventListener('abort', stop, { once: true });
    try {
      return await Promise.race([this.#exited.promise, late.promise]);
    } finally {
      this.#signal.removeEventListener('abort', stop);
    }
  }

  /** @returns `undefined`: there is nothing more to be read */
  async #followLog(since: Date): Promise<Output | undefined> {
    const { id, name } = this.#container;
    const log = await this.#connection.call((engine, limited) => engine.followLog(id, since, limited), this.#signal);
    if (log !== undefined) return log;
    this.#options.onWarning(
      `earlier output of the container ${name} cannot be read back: the engine's log driver sends it elsewhere`,
    );
    // Attaching to a container that has exited would wait for it to start again.
    return (await this.#isExited()) ? undefined : await this.attach();
  }

  async #isExited(): Promise<boolean> {
    const { id } = this.#container;
    const inspect = (engine: EngineConnection['engine'], limited: AbortSignal) => engine.inspectContainer(id, limited);
    return (await this.#connection.call(inspect, this.#signal)).state.status === 'exited';
  }
}
