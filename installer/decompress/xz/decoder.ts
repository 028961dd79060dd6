const inputBytes = 256 * 1024;
const outputBytes = 1024 * 1024;

// From liblzma's lzma/base.h.
const action = { run: 0, finish: 3 } as const;
const result = { ok: 0, streamEnd: 1, memoryLimit: 6 } as const;
const reasons: Record<number, string> = {
  5: 'there is not enough memory',
  8: 'it uses an unknown filter or check',
  9: 'it is damaged',
  10: 'the file ends unexpectedly',
};

type Liblzma = typeof import('node-liblzma/wasm');

/** What is wrong with a stream. */
export class InvalidXzError extends Error {
  /** Bytes of the stream that were used. */
  readonly usedBytes: number;
  /** It needs more memory than is allowed. */
  readonly isTooLarge: boolean;

  constructor(reason: string, usedBytes: number, isTooLarge: boolean) {
    super(reason);
    this.usedBytes = usedBytes;
    this.isTooLarge = isTooLarge;
  }
}

/** liblzma, compiled to WebAssembly: decodes one stream after another. */
export class Decoder implements Disposable {
  readonly #module: ReturnType<Liblzma['getModule']>;
  readonly #stream: InstanceType<Liblzma['WasmLzmaStream']>;
  readonly #memoryLimitBytes: number;
  readonly #input: number;
  readonly #output: number;
  #givenBytes = 0;
  #ended = false;

  /**
   * Loads the library when it is needed, because most images are not xz.
   * @param binary of liblzma
   */
  static async create(binary: Uint8Array, memoryLimitBytes: number): Promise<Decoder> {
    const { initModule, WasmLzmaStream } = await import('node-liblzma/wasm');
    const { default: create } = await import('node-liblzma/wasm/liblzma.js');
    const module = await initModule(
      async () => await create({ wasmBinary: binary, locateFile: (name: string) => name }),
    );
    return new Decoder(module, new WasmLzmaStream(module), memoryLimitBytes);
  }

  constructor(
    module: ReturnType<Liblzma['getModule']>,
    stream: InstanceType<Liblzma['WasmLzmaStream']>,
    memoryLimitBytes: number,
  ) {
    this.#module = module;
    this.#stream = stream;
    this.#memoryLimitBytes = memoryLimitBytes;
    this.#input = module._malloc(inputBytes);
    this.#output = module._malloc(outputBytes);
  }

  /** Begins a stream. */
  start(): void {
    this.#givenBytes = 0;
    this.#ended = false;
    this.#stream.setInput(this.#input, 0);
    this.#check(this.#module._lzma_stream_decoder(this.#stream.ptr, BigInt(this.#memoryLimitBytes), 0));
  }

  /**
   * Decodes a part of the stream. The bytes are valid until the next one is taken.
   * @throws {InvalidXzError}
   */
  *decode(part: Uint8Array): Generator<Uint8Array> {
    for (let at = 0; at < part.length; at += inputBytes) {
      const piece = part.subarray(at, at + inputBytes);
      this.#module.HEAPU8.set(piece, this.#input);
      this.#stream.setInput(this.#input, piece.length);
      this.#givenBytes += piece.length;
      while (!this.#ended && this.#stream.availIn > 0) yield this.#run(action.run);
    }
  }

  /** The rest of the stream, of which every part was given. */
  *end(): Generator<Uint8Array> {
    while (!this.#ended) yield this.#run(action.finish);
  }

  [Symbol.dispose](): void {
    this.#module._lzma_end(this.#stream.ptr);
    this.#stream.free();
    this.#module._free(this.#input);
    this.#module._free(this.#output);
  }

  #run(how: number): Uint8Array {
    this.#stream.setOutput(this.#output, outputBytes);
    const code = this.#module._lzma_code(this.#stream.ptr, how);
    if (code === result.streamEnd) this.#ended = true;
    else this.#check(code);
    return this.#module.HEAPU8.subarray(this.#output, this.#output + outputBytes - this.#stream.availOut);
  }

  #check(code: number): void {
    if (code === result.ok) return;
    const usedBytes = this.#givenBytes - this.#stream.availIn;
    const reason = reasons[code] ?? `liblzma returned ${code}`;
    throw new InvalidXzError(reason, usedBytes, code === result.memoryLimit);
  }
}
