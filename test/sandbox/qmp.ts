import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { z } from 'zod';

/** An event of the machine, as RESET, SHUTDOWN, POWERDOWN, WATCHDOG (QEMU QMP Reference Manual). */
export interface MachineEvent {
  readonly name: string;
  readonly data: unknown;
}

const message = z.union([
  z.object({ QMP: z.unknown() }),
  z.object({ event: z.string(), data: z.unknown().optional() }),
  z.object({ id: z.number(), return: z.unknown() }),
  z.object({ id: z.number(), error: z.object({ class: z.string(), desc: z.string() }) }),
]);

/**
 * A connection to QEMU's monitor: commands with their answers, and the events since the connection
 * was made.
 */
export class Monitor implements AsyncDisposable {
  readonly events: MachineEvent[] = [];
  readonly #socket: Socket;
  readonly #answers = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #changed = new EventTarget();
  #lastId = 0;
  #closed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    // A machine that ends resets the connection: #close rejects the waits.
    socket.on('error', () => this.#close());
    socket.on('close', () => this.#close());
    const lines = createInterface({ input: socket });
    lines.on('line', (line) => this.#receive(line));
    lines.on('error', () => this.#close()); // it passes the socket's errors on
  }

  /** Connects to the monitor at a Unix socket, which must already be listening. */
  static async connect(path: string, signal: AbortSignal): Promise<Monitor> {
    const socket = connect(path);
    socket.on('error', () => {}); // `once` throws it; after an abort no caller waits any more
    try {
      await once(socket, 'connect', { signal });
    } catch (error) {
      socket.destroy();
      throw error;
    }
    const monitor = new Monitor(socket);
    await monitor.command('qmp_capabilities');
    return monitor;
  }

  /**
   * Sends one command and gives its answer.
   * @throws {Error} the machine refuses it, has ended or does not answer in 10 seconds
   */
  async command(execute: string, parameters: Record<string, unknown> = {}): Promise<unknown> {
    if (this.#closed) throw new Error(`cannot send ${execute} to the machine: it has ended`);
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<unknown>();
    this.#answers.set(id, answer);
    this.#socket.write(`${JSON.stringify({ execute, arguments: parameters, id })}\n`);
    const overdue = setTimeout(() => answer.reject(new Error(`the machine did not answer ${execute} in 10 s`)), 10_000);
    try {
      return await answer.promise;
    } finally {
      clearTimeout(overdue);
      this.#answers.delete(id);
    }
  }

  /**
   * The `count`th event (from 1) of that name, past ones included.
   * @throws {Error} when the machine has ended or the time is over; the reason of the signal
   */
  async waitForEvent(
    name: string,
    options: { timeoutSeconds?: number; count?: number; signal?: AbortSignal },
  ): Promise<MachineEvent> {
    const deadline =
      options.timeoutSeconds === undefined
        ? new AbortController().signal
        : AbortSignal.timeout(options.timeoutSeconds * 1000);
    for (;;) {
      const found = this.events.filter((event) => event.name === name)[(options.count ?? 1) - 1];
      if (found !== undefined) return found;
      const seen = this.events.map((event) => event.name).join(', ') || 'none';
      if (this.#closed) throw new Error(`waiting for the machine's ${name}: it has ended (events: ${seen})`);
      if (deadline.aborted) {
        throw new Error(`waiting for the machine's ${name}: none in ${options.timeoutSeconds} s (events: ${seen})`);
      }
      options.signal?.throwIfAborted();
      await new Promise<void>((resolve) => {
        this.#changed.addEventListener('change', () => resolve(), { once: true });
        deadline.addEventListener('abort', () => resolve(), { once: true });
        options.signal?.addEventListener('abort', () => resolve(), { once: true });
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
    this.#close();
  }

  #receive(line: string): void {
    const received = message.parse(JSON.parse(line));
    if ('event' in received) {
      this.events.push({ name: received.event, data: received.data });
      this.#changed.dispatchEvent(new Event('change'));
    } else if ('error' in received) {
      this.#answers.get(received.id)?.reject(new Error(`the machine refused a command: ${received.error.desc}`));
    } else if ('id' in received) {
      this.#answers.get(received.id)?.resolve(received.return);
    }
  }

  #close(): void {
    this.#closed = true;
    for (const answer of this.#answers.values()) answer.reject(new Error('the machine has ended'));
    this.#changed.dispatchEvent(new Event('change'));
  }
}
