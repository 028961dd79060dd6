import { kernelBinary } from './kernel-binary.generated.ts';

/** Results of `InflateKernel.run`. */
export const inflateStatus = {
  /** All of the input was read but a part that is too short. */
  needsInput: 0,
  /** The output must be taken. */
  hasOutput: 1,
  /** The zeroes must be taken, after the output. */
  hasZeroes: 2,
  /** The end of the last block. The output may stay. */
  ended: 3,
  truncated: 4,
  badType: 5,
  badLengths: 6,
  badCode: 7,
  noEnd: 8,
  badSymbol: 9,
  badDistance: 10,
  badStored: 11,
} as const;

/**
 * Decodes deflate (RFC 1951). Runs of zeroes that are longer than its window are counted instead of
 * written: a disk image is mostly such runs.
 */
export interface InflateKernel {
  /** The memory of input and output. */
  readonly memory: Uint8Array;
  /** Where in `memory` the input begins, and how much it may have. */
  readonly inputStart: number;
  readonly inputBytes: number;
  /** Begins a new sequence of blocks, which does not refer to what came before. */
  start(): void;
  /**
   * Decodes the input in [from, length) and returns an `inflateStatus`. `position()` is then the
   * begin of what was not used; it must be there again at the next call.
   * @param last nothing follows the input
   */
  run(from: number, length: number, last: boolean): number;
  position(): number;
  /** The output that was not taken yet, in `memory`. */
  outputStart(): number;
  outputEnd(): number;
  /** The output of all calls so far is not needed any more. */
  takeOutput(): void;
  /** How many zeroes follow the output. Sets the number back to none. */
  takeZeroes(): number;
}

interface Exports {
  readonly memory: WebAssembly.Memory;
  initialise(): void;
  input(): number;
  inputBytes(): number;
  start(): void;
  run(from: number, length: number, last: number): number;
  position(): number;
  outputStart(): number;
  outputEndAt(): number;
  takeOutput(): void;
  takeZeroes(): number;
}

export function createInflateKernel(): InflateKernel {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(kernelBinary, 'base64')));
  const kernel = exports as unknown as Exports;
  kernel.initialise();
  return {
    memory: new Uint8Array(kernel.memory.buffer),
    inputStart: kernel.input(),
    inputBytes: kernel.inputBytes(),
    start: kernel.start,
    run: (from, length, last) => kernel.run(from, length, last ? 1 : 0),
    position: kernel.position,
    outputStart: kernel.outputStart,
    outputEnd: kernel.outputEndAt,
    takeOutput: kernel.takeOutput,
    takeZeroes: kernel.takeZeroes,
  };
}
