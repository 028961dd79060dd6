import type { DiskOperation } from './disk-protocol.ts';

const sectorBytes = 512;

/** A disk with a volatile write cache. */
export interface CachedDisk {
  /** Carries out the operation that is next. */
  next(): void;
  /** Whether there is anything that a loss of power can lose. */
  readonly isDirty: boolean;
  /**
   * The power is lost. Of what was not followed by a flush, any part may have reached the medium:
   * each write as a whole, not at all, or some of its sectors; in any order. A sector is written as
   * a whole.
   * @param random which parts, by numbers from 0 to 1
   * @param look gets the content that is left; it may not change it
   */
  losePower<Result>(random: () => number, look: (content: Uint8Array) => Promise<Result>): Promise<Result>;
}

export function createCachedDisk(initial: Uint8Array, operations: readonly DiskOperation[]): CachedDisk {
  const durable = initial.slice();
  /** The same but within `losePower`. */
  const content = initial.slice();
  let count = 0;
  let pending: DiskOperation[] = [];
  return {
    get isDirty() {
      return pending.length > 0;
    },
    next() {
      const operation = operations[count++];
      if (operation === undefined) return;
      if (operation.kind !== 'flush') {
        pending.push(operation);
        return;
      }
      for (const one of pending) {
        apply(durable, one);
        apply(content, one);
      }
      pending = [];
    },
    async losePower(random, look) {
      for (const operation of pending) {
        const fate = random();
        if (fate < 0.3) continue;
        if (fate < 0.6) apply(content, operation);
        else applyPartly(content, operation, random);
      }
      const result = await look(content);
      for (const operation of pending) {
        const [start, end] = rangeOf(operation);
        content.set(durable.subarray(start, end), start);
      }
      return result;
    },
  };
}

/** Begin and end, in bytes. */
export function rangeOf(operation: DiskOperation): readonly [number, number] {
  if (operation.kind === 'flush') return [0, 0];
  const length = operation.kind === 'write' ? operation.bytes.length : operation.lengthBytes;
  return [operation.offsetBytes, operation.offsetBytes + length];
}

function apply(content: Uint8Array, operation: DiskOperation): void {
  if (operation.kind === 'write') content.set(operation.bytes, operation.offsetBytes);
  if (operation.kind === 'zero') content.fill(0, operation.offsetBytes, operation.offsetBytes + operation.lengthBytes);
}

/** Runs of sectors, and not each sector by itself, so that there are large parts, too. */
function applyPartly(content: Uint8Array, operation: DiskOperation, random: () => number): void {
  if (operation.kind === 'flush') return;
  const { offsetBytes: offset } = operation;
  const bytes = operation.kind === 'write' ? operation.bytes : undefined;
  const length = bytes?.length ?? (operation.kind === 'zero' ? operation.lengthBytes : 0);
  const maxRunSectors = 2 * Math.ceil(length / sectorBytes);
  for (let start = 0; start < length; ) {
    const end = Math.min(length, start + sectorBytes * Math.floor(maxRunSectors ** random()));
    if (random() < 0.5) {
      if (bytes === undefined) content.fill(0, offset + start, offset + end);
      else content.set(bytes.subarray(start, end), offset + start);
    }
    start = end;
  }
}
