import { type ElfImage, SegmentType } from './image.ts';
import { type Machine, roundUp } from './machine.ts';

/**
 * The thread-local variables of program and library as one block, which each thread gets a copy of
 * ("ELF Handling For Thread-Local Storage").
 */
export interface ThreadLocalBlock {
  /** What the variables start with; the rest of the block is zeroes. */
  readonly initial: Buffer;
  readonly sizeBytes: number;
  readonly alignment: number;
  /** Where the library's variables start in the block. */
  readonly libraryOffset: number;
  /**
   *
   * @param offset in the block
   * @returns the distance from the thread pointer
   */
  fromThreadPointer(offset: number): number;
}

/**
 * The code of the program has the distances of its variables from the thread pointer in it: those
 * of the library go to the other end.
 */
export function joinThreadLocals(program: ElfImage, library: ElfImage, machine: Machine): ThreadLocalBlock {
  const own = partOf(program);
  const added = partOf(library);
  if (added.alignment > own.alignment)
    throw new Error('the thread-local variables of the library have a larger alignment than those of the program');
  const { alignment } = own;
  if (machine.tlsEndsAtThreadPointer) {
    const ownOffset = roundUp(added.sizeBytes, alignment);
    const initial = Buffer.alloc(ownOffset + own.initial.length);
    added.initial.copy(initial);
    own.initial.copy(initial, ownOffset);
    const sizeBytes = ownOffset + own.sizeBytes;
    const end = roundUp(sizeBytes, alignment);
    return { initial, sizeBytes, alignment, libraryOffset: 0, fromThreadPointer: (offset) => offset - end };
  }
  const libraryOffset = roundUp(own.sizeBytes, added.alignment);
  const initial = Buffer.alloc(added.initial.length === 0 ? own.initial.length : libraryOffset + added.initial.length);
  own.initial.copy(initial);
  added.initial.copy(initial, libraryOffset);
  const start = roundUp(16, alignment); // two words for the loader
  const sizeBytes = libraryOffset + added.sizeBytes;
  return { initial, sizeBytes, alignment, libraryOffset, fromThreadPointer: (offset) => start + offset };
}

function partOf(image: ElfImage): { initial: Buffer; sizeBytes: number; alignment: number } {
  const segment = image.segment(SegmentType.tls);
  if (segment === undefined) return { initial: Buffer.alloc(0), sizeBytes: 0, alignment: 1 };
  const { fileOffset, fileSizeBytes, memorySizeBytes, alignment, address } = segment;
  if (address % alignment !== 0)
    throw new Error('the thread-local variables do not start at a multiple of their alignment');
  const initial = image.bytes.subarray(fileOffset, fileOffset + fileSizeBytes);
  return { initial, sizeBytes: memorySizeBytes, alignment };
}
