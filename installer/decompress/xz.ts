import type { Extent } from '../extent.ts';
import { DecompressError } from './error.ts';
import { liblzmaBinary } from './liblzma-binary.ts';

const inputBytes = 256 * 1024;
const outputBytes = 1024 * 1024;
/**
 * Enough for the largest dictionary of a preset (64 MiB at -9), within the memory limit of the
 * installer.
 */
const memoryLimitBytes = 100 * 1024 * 1024;

// From liblzma's lzma/base.h and lzma/container.h.
const concatenated = 0x08;
const action = { run: 0, finish: 3 } as const;
const result = { ok: 0, streamEnd: 1 } as const;
const reasons: Record<number, string> = {
  5: 'there is not enough memory',
  6: `it needs more than ${memoryLimitBytes / 1024 / 1024} MiB to decode (compress it with a smaller dictionary)`,
  7: 'data that is not xz follows it',
  8: 'it uses an unknown filter or check',
  9: 'it is damaged',
  10: 'the file ends unexpectedly',
};

/**
 * Decodes xz, all streams of the file, with all checks verified; by liblzma compiled to
 * WebAssembly, in this thread.
 */
export async function* xz(source: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): AsyncGenerator<Extent> {
  await using decoder = await Decoder.create();
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; at += inputBytes) {
      signal?.throwIfAborted();
      decoder.give(chunk.subarray(at, at + inputBytes));
      for (let bytes = decoder.run(action.run); bytes; bytes = decoder.run(action.run)) {
        yield { kind: 'data', bytes, release() {} };
      }
    }
  }
  for (let bytes = decoder.run(action.finish); bytes; bytes = decoder.run(action.finish)) {
    yield { kind: 'data', bytes, release() {} };
  }
}

type Liblzma = typeof import('node-liblzma/wasm');

class Decoder implements AsyncDisposable {
  readonly #module: ReturnType<Liblzma['getModule']>;
  readonly #stream: InstanceType<Liblzma['WasmLzmaStream']>;
  readonly #input: number;
  readonly #output: number;
  #givenBytes = 0;
  #ended = false;

  /** Loads the library when it is needed, because most images are not xz. */
  static async create(): Promise<Decoder> {
    const { initModule, WasmLzmaStream } = await import('node-liblzma/wasm');
    const { default: create } = await import('node-liblzma/wasm/liblzma.js');
    const module = await initModule(
      async () => await create({ wasmBinary: await liblzmaBinary(), locateFile: (name: string) => name }),
    );
    return new Decoder(module, new WasmLzmaStream(module));
  }

  constructor(module: ReturnType<Liblzma['getModule']>, stream: InstanceType<Liblzma['WasmLzmaStream']>) {
    this.#module = module;
    this.#stream = stream;
    this.#input = module._malloc(inputBytes);
    this.#output = module._malloc(outputBytes);
    this.#check(module._lzma_stream_decoder(stream.ptr, BigInt(memoryLimitBytes), concatenated));
  }

  /**
   * Sets the next bytes to decode, at most `inputBytes`; the previous ones must have been decoded.
   */
  give(chunk: Uint8Array): void {
    this.#module.HEAPU8.set(chunk, this.#input);
    this.#stream.setInput(this.#input, chunk.length);
    this.#givenBytes += chunk.length;
  }

  /**
   * Decodes some of the input; undefined if there is no more. The bytes are valid until the next
   * call.
   */
  run(how: number): Uint8Array | undefined {
    if (this.#ended || (how === action.run && this.#stream.availIn === 0)) return undefined;
    this.#stream.setOutput(this.#output, outputBytes);
    const code = this.#module._lzma_code(this.#stream.ptr, how);
    if (code === result.streamEnd) this.#ended = true;
    else this.#check(code);
    return this.#module.HEAPU8.subarray(this.#output, this.#output + outputBytes - this.#stream.availOut);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#module._lzma_end(this.#stream.ptr);
    this.#stream.free();
    this.#module._free(this.#input);
    this.#module._free(this.#output);
  }

  #check(code: number): void {
    if (code === result.ok) return;
    const offsetBytes = this.#givenBytes - this.#stream.availIn;
    const reason = reasons[code] ?? `liblzma returned ${code}`;
    throw new DecompressError(`cannot decode the image: the xz data before byte ${offsetBytes} is invalid: ${reason}`, {
      offsetBytes,
    });
  }
}
