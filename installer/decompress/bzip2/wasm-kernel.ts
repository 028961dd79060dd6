import { type Kernel, outputBytes } from './kernel.ts';
import { kernelBinary } from './kernel-binary.generated.ts';
import { unrandomise } from './randomised.ts';

/** What assemblyscript/index.ts exports. */
interface Exports {
  readonly memory: WebAssembly.Memory;
  initialise(lanes: number, inputBytes: number): void;
  input(): number;
  output(): number;
  load(lengthBytes: number): void;
  read24(bit: number): number;
  same(bit: number, otherBit: number, bits: number): number;
  decode(lane: number, bit: number): number;
  endBit(lane: number): number;
  storedCrc(lane: number): number;
  blockLength(lane: number): number;
  randomised(lane: number): number;
  bytes(lane: number): number;
  invert(count: number): void;
  rewind(lane: number): void;
  expand(lane: number): number;
  crc(lane: number): number;
}

const binary = () => Buffer.from(kernelBinary, 'base64');

/** Whether this processor runs the kernel's SIMD instructions. */
export function hasSimd(): boolean {
  return WebAssembly.validate(binary());
}

/** The decoder in WebAssembly with SIMD. */
export function wasmKernel(lanes: number, inputBytes: number): Kernel {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(binary()));
  const kernel = exports as unknown as Exports;
  kernel.initialise(lanes, inputBytes);
  const memory = kernel.memory.buffer;
  return {
    lanes,
    input: new Uint8Array(memory, kernel.input(), inputBytes),
    output: new Uint8Array(memory, kernel.output(), outputBytes),
    load: kernel.load,
    read24: kernel.read24,
    same: (bit, otherBit, bits) => kernel.same(bit, otherBit, bits) !== 0,
    decode: kernel.decode,
    endBit: kernel.endBit,
    storedCrc: (lane) => kernel.storedCrc(lane) >>> 0,
    blockLength: kernel.blockLength,
    invert(count) {
      kernel.invert(count);
      for (let lane = 0; lane < count; lane++) {
        if (kernel.randomised(lane)) {
          unrandomise(new Uint8Array(memory, kernel.bytes(lane), kernel.blockLength(lane)));
        }
      }
    },
    rewind: kernel.rewind,
    expand: kernel.expand,
    crc: (lane) => kernel.crc(lane) >>> 0,
  };
}
