import type { Clock } from '../../clock/clock.ts';

/**
 * What a WebAssembly program finds around it, as WASI preview 1 names it
 * (github.com/WebAssembly/WASI, legacy/preview1/docs.md): a clock, random numbers, and an output
 * that is kept. There are no files, no environment and no network, so that a template can reach
 * nothing. `node:wasi` would do as well, but warns on standard error that it is experimental.
 */
export class WasiHost {
  readonly #time: Clock;
  #memory: WebAssembly.Memory | undefined;
  #output = '';

  constructor(clock: Clock) {
    this.#time = clock;
  }

  /** The memory that the module exports; to be set before anything is called. */
  set memory(memory: WebAssembly.Memory) {
    this.#memory = memory;
  }

  /** What the program wrote to its standard output and standard error. */
  get output(): string {
    return this.#output.trim();
  }

  /**
   * The module `wasi_snapshot_preview1`. What a program without files does not call answers that it
   * is not supported.
   */
  get imports(): Readonly<Record<string, unknown>> {
    return new Proxy(this.#functions, {
      get: (functions, name) => functions[String(name)] ?? (() => errno.notSupported),
    });
  }

  readonly #functions: Readonly<Record<string, (...values: number[]) => number>> = {
    args_sizes_get: (count, size) => this.#setWords([count, 0], [size, 0]),
    args_get: () => errno.success,
    environ_sizes_get: (count, size) => this.#setWords([count, 0], [size, 0]),
    environ_get: () => errno.success,
    clock_time_get: (clock, _precision, result = 0) => this.#clock(clock, result),
    random_get: (start = 0, length = 0) => {
      crypto.getRandomValues(new Uint8Array(this.#view().buffer, start, length));
      return errno.success;
    },
    fd_write: (_file, vectors = 0, count = 0, written) => this.#write(vectors, count, written),
    // The program looks for a directory that it may open; there is none.
    fd_prestat_get: () => errno.badFile,
    fd_fdstat_get: () => errno.badFile,
    // Called to wait for a time, where nothing else can run: the time is over.
    poll_oneoff: (_subscriptions, _events, _count, happened) => this.#setWords([happened, 0]),
    sched_yield: () => errno.success,
    proc_exit: (code) => {
      throw new Error(`exit code ${code}: ${this.output}`);
    },
  };

  #view(): DataView<ArrayBuffer> {
    if (this.#memory === undefined) throw new Error('the memory is not set');
    return new DataView(this.#memory.buffer);
  }

  #setWords(...words: readonly (readonly [address: number | undefined, value: number])[]): number {
    for (const [address = 0, value] of words) this.#view().setUint32(address, value, true);
    return errno.success;
  }

  /** In nanoseconds: the date for clock 0, the time since an unknown moment for others. */
  #clock(clock: number | undefined, result: number): number {
    const milliseconds = clock === 0 ? this.#time.now().getTime() : this.#time.monotonicSeconds() * 1000;
    this.#view().setBigUint64(result, BigInt(Math.round(milliseconds * 1e6)), true);
    return errno.success;
  }

  /** @param vectors Address of `count` pairs of an address and a length */
  #write(vectors: number, count: number, written: number | undefined): number {
    const view = this.#view();
    let bytes = 0;
    for (let index = 0; index < count; index += 1) {
      const start = view.getUint32(vectors + 8 * index, true);
      const length = view.getUint32(vectors + 8 * index + 4, true);
      this.#output += Buffer.from(view.buffer, start, length).toString();
      bytes += length;
    }
    return this.#setWords([written, bytes]);
  }
}

/** Those of the specification's errors that are answered here. */
const errno = { success: 0, badFile: 8, notSupported: 52 } as const;
