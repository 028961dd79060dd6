import type { Extent } from '../extent.ts';
import { DecompressError, damaged } from './error.ts';
import { liblzmaBinary } from './liblzma-binary.ts';
import { SourceReader } from './source-reader.ts';
import { skipTrailing } from './trailing.ts';

const inputBytes = 256 * 1024;
const outputBytes = 1024 * 1024;
/**
 * Enough for the largest dictionary of a preset (64 MiB at -9), within the memory limit of the
 * installer.
 */
const memoryLimitBytes = 100 * 1024 * 1024;

// From liblzma's lzma/base.h and lzma/container.h.
const tellUnsupportedCheck = 0x02;
const action = { run: 0, finish: 3 } as const;
const result = { ok: 0, streamEnd: 1, unsupportedCheck: 3, memoryLimit: 6 } as const;
const reasons: Record<number, string> = {
  5: 'there is not enough memory',
  8: 'it uses an unknown filter or check',
  9: 'it is damaged',
  10: 'the file ends unexpectedly',
};

export interface XzOptions {
  readonly signal?: AbortSignal | undefined;
  /** Refuses a stream whose check is of an unknown type. Default: warns of it. */
  readonly requireCheck?: boolean | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
}

/**
 * Decodes xz, all streams of the file, with all checks verified that liblzma knows; by liblzma
 * compiled to WebAssembly, in this thread.
 */
export async function* xz(
  source: AsyncIterable<Uint8Array>,
  { signal, requireCheck = false, onWarning = () => {} }: XzOptions,
): AsyncGenerator<Extent> {
  await using decoder = await Decoder.create(requireCheck, onWarning);
  const reader = new SourceReader(source);
  try {
    for (let isFirst = true; ; isFirst = false) {
      const beginning = await reader.peek(magic.length);
      if (!isFirst && beginning[0] === 0 && (await reader.skipZeroes())) continue;
      // Not by liblzma, for which anything but a further stream is damage.
      if (!isFirst && !beginning.equals(magic)) return await skipTrailing(reader, 'xz', onWarning);
      decoder.start(reader.positionBytes);
      yield* stream(decoder, reader, signal);
    }
  } finally {
    await reader.close();
  }
}

/** The .xz file format, section 2.1.1.1. */
const magic = Buffer.from('fd377a585a00', 'hex');

async function* stream(
  decoder: Decoder,
  reader: SourceReader,
  signal: AbortSignal | undefined,
): AsyncGenerator<Extent> {
  while (!decoder.hasEnded) {
    const chunk = await reader.next();
    if (chunk === undefined) {
      for (let bytes = decoder.run(action.finish); bytes; bytes = decoder.run(action.finish)) {
        yield { kind: 'data', bytes, release() {} };
      }
      return;
    }
    for (let at = 0; at < chunk.length && !decoder.hasEnded; at += inputBytes) {
      signal?.throwIfAborted();
      const piece = chunk.subarray(at, at + inputBytes);
      decoder.give(piece);
      for (let bytes = decoder.run(action.run); bytes; bytes = decoder.run(action.run)) {
        yield { kind: 'data', bytes, release() {} };
      }
      if (decoder.hasEnded) reader.giveBack(chunk.subarray(at + piece.length - decoder.leftBytes));
    }
  }
}

type Liblzma = typeof import('node-liblzma/wasm');

class Decoder implements AsyncDisposable {
  readonly #module: ReturnType<Liblzma['getModule']>;
  readonly #stream: InstanceType<Liblzma['WasmLzmaStream']>;
  readonly #input: number;
  readonly #output: number;
  readonly #requireCheck: boolean;
  readonly #onWarning: (message: string) => void;
  #givenBytes = 0;
  #ended = false;

  /** Loads the library when it is needed, because most images are not xz. */
  static async create(requireCheck: boolean, onWarning: (message: string) => void): Promise<Decoder> {
    const { initModule, WasmLzmaStream } = await import('node-liblzma/wasm');
    const { default: create } = await import('node-liblzma/wasm/liblzma.js');
    const module = await initModule(
      async () => await create({ wasmBinary: await liblzmaBinary(), locateFile: (name: string) => name }),
    );
    return new Decoder(module, new WasmLzmaStream(module), requireCheck, onWarning);
  }

  constructor(
    module: ReturnType<Liblzma['getModule']>,
    stream: InstanceType<Liblzma['WasmLzmaStream']>,
    requireCheck: boolean,
    onWarning: (message: string) => void,
  ) {
    this.#requireCheck = requireCheck;
    this.#onWarning = onWarning;
    this.#module = module;
    this.#stream = stream;
    this.#input = module._malloc(inputBytes);
    this.#output = module._malloc(outputBytes);
  }

  /** Begins a stream, which begins at this byte of the file. */
  start(positionBytes: number): void {
    this.#givenBytes = positionBytes;
    this.#ended = false;
    this.#stream.setInput(this.#input, 0);
    this.#check(this.#module._lzma_stream_decoder(this.#stream.ptr, BigInt(memoryLimitBytes), tellUnsupportedCheck));
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Bytes of what was given that are behind the end of the stream. */
  get leftBytes(): number {
    return this.#stream.availIn;
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
    else if (code === result.unsupportedCheck) this.#tellUnchecked();
    else this.#check(code);
    return this.#module.HEAPU8.subarray(this.#output, this.#output + outputBytes - this.#stream.availOut);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#module._lzma_end(this.#stream.ptr);
    this.#stream.free();
    this.#module._free(this.#input);
    this.#module._free(this.#output);
  }

  #tellUnchecked(): void {
    const offsetBytes = this.#givenBytes - this.#stream.availIn;
    const what = `the xz data from byte ${offsetBytes} on has a checksum of an unknown type`;
    if (this.#requireCheck)
      throw new DecompressError(`cannot decode the image: ${what}, and there is no signature`, { offsetBytes });
    this.#onWarning(`${what}; only the signature is verified`);
  }

  #check(code: number): void {
    if (code === result.ok) return;
    const offsetBytes = this.#givenBytes - this.#stream.availIn;
    if (code === result.memoryLimit) {
      const why = `xz needs more than ${memoryLimitBytes / 1024 / 1024} MiB of memory to decode it`;
      throw new DecompressError(why, { offsetBytes, hint: 'compress the image with a preset of xz, such as -9' });
    }
    const reason = reasons[code] ?? `liblzma returned ${code}`;
    throw damaged('xz', reason, offsetBytes);
  }
}
