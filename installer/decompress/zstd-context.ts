import { constants, createZstdDecompress, type ZstdDecompress } from 'node:zlib';

export interface ZstdFailure {
  readonly kind: 'failed';
  readonly message: string;
  /** `ZSTD_error_…`, of zstd_errors.h. */
  readonly code: string;
}

/** Result of a step. */
type ZstdStep =
  | {
      readonly kind: 'decoded';
      readonly usedBytes: number;
      /** Valid until the next step. */
      readonly bytes: Uint8Array;
    }
  | ZstdFailure;

/** What the stream calls (lib/zlib.js, src/node_zlib.cc of the Node in the executable). */
interface Internals {
  readonly _handle: {
    writeSync(
      flush: number,
      input: Uint8Array,
      inputOffset: number,
      inputLength: number,
      output: Uint8Array,
      outputOffset: number,
      outputLength: number,
    ): void;
    onerror: (message: string, errno: number, code: string) => void;
  };
  /** After each write: the free bytes of the output, the unused bytes of the input. */
  readonly _writeState: Uint32Array;
}

const outputBytes = 1024 * 1024;
/** Of an end within a frame Node makes an error, after which decoding can go on. */
const flush = { none: constants.ZSTD_e_continue, end: constants.ZSTD_e_end };

/**
 * Node's decoder of zstd, step by step into the same memory. Its stream has no way to that: it
 * takes new memory for each MiB, and costs 1.6 times the processor time of the zstd program, most
 * of it page faults and garbage collection. Its type has no such methods, so a test makes sure that
 * this Node has them.
 */
export class ZstdContext implements Disposable {
  readonly #stream: ZstdDecompress;
  readonly #internals: Internals;
  readonly #output = Buffer.allocUnsafeSlow(outputBytes);
  #failure: ZstdFailure | undefined;
  #isFull = false;

  /** @param maxWindowBytes largest window of a frame */
  constructor(maxWindowBytes: number) {
    const params = { [constants.ZSTD_d_windowLogMax]: Math.floor(Math.log2(maxWindowBytes)) };
    this.#stream = createZstdDecompress({ params });
    this.#internals = this.#stream as unknown as Internals;
    this.#internals._handle.onerror = (message, _errno, code) => {
      this.#failure = { kind: 'failed', message, code };
    };
  }

  /** Decodes some of the input, up to the end of a frame or of the output's memory. */
  decode(input: Uint8Array): ZstdStep {
    const step = this.#step(flush.none, input);
    this.#isFull = step.kind === 'decoded' && step.bytes.length === outputBytes;
    return step;
  }

  /** Whether the last step filled the output's memory: there may be more, without any input. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Whether a frame has ended, and no other one has begun. */
  isBetweenFrames(): boolean {
    return this.#step(flush.end, new Uint8Array(0)).kind === 'decoded';
  }

  [Symbol.dispose](): void {
    this.#stream.destroy();
  }

  #step(flushing: number, input: Uint8Array): ZstdStep {
    const { _handle: handle, _writeState: state } = this.#internals;
    this.#failure = undefined;
    handle.writeSync(flushing, input, 0, input.length, this.#output, 0, outputBytes);
    if (this.#failure !== undefined) return this.#failure;
    const [free = 0, unused = 0] = state;
    return {
      kind: 'decoded',
      usedBytes: input.length - unused,
      bytes: this.#output.subarray(0, outputBytes - free),
    };
  }
}
