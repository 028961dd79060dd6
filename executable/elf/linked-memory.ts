import type { ElfImage } from './image.ts';
import type { Memory } from './relocate.ts';

/** The program as it is in its file, and the library as it is in memory, its zeroes included. */
export class LinkedMemory implements Memory {
  readonly program: Buffer;
  readonly library: Buffer;
  readonly #image: ElfImage;
  readonly #base: number;

  constructor(program: ElfImage, library: ElfImage, base: number) {
    this.#image = program;
    this.#base = base;
    this.program = Buffer.from(program.bytes);
    this.library = Buffer.alloc(library.endInMemory);
    for (const { address, fileOffset, fileSizeBytes } of library.loads)
      library.bytes.copy(this.library, address, fileOffset, fileOffset + fileSizeBytes);
  }

  write(address: number, value: number): void {
    this.read(address, 8).writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
  }

  read(address: number, sizeBytes: number): Buffer {
    if (address >= this.#base) return this.library.subarray(address - this.#base, address - this.#base + sizeBytes);
    const offset = this.#image.fileOffset(address, sizeBytes);
    if (offset === undefined) throw new Error(`the file has nothing for address 0x${address.toString(16)}`);
    return this.program.subarray(offset, offset + sizeBytes);
  }

  /** Makes a part of the program zeroes, which take no room in a compressed image. */
  erase(start: number, end: number): void {
    this.read(start, end - start).fill(0);
  }

  copy(from: number, to: number, sizeBytes: number): void {
    const content = this.read(from, sizeBytes);
    const isEmpty = content.every((byte) => byte === 0);
    if (isEmpty && this.#image.fileOffset(to, sizeBytes) === undefined) return; // memory that is zero at the start
    content.copy(this.read(to, sizeBytes));
  }
}
