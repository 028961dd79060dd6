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
        if (fate < 0.2) continue;
        if (fate < 0.4) apply(content, operation);
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

/**
 * Runs of sectors, and not each sector by itself, so that there are large parts, too. Only sectors
 * that the operation changes count: of a table, which is mostly zeroes, they are three.
 */
function applyPartly(content: Uint8Array, operation: DiskOperation, random: () => number): void {
  if (operation.kind === 'flush') return;
  const [first, end] = rangeOf(operation);
  const bytes = operation.kind === 'write' ? operation.bytes : new Uint8Array(end - first);
  const changed: (readonly [sector: Uint8Array, offset: number])[] = [];
  for (let offset = first; offset < end; offset += sectorBytes) {
    const sector = bytes.subarray(offset - first, offset - first + sectorBytes);
    if (Buffer.compare(sector, content.subarray(offset, offset + sector.length)) !== 0) changed.push([sector, offset]);
  }
  for (let start = 0; start < changed.length; ) {
    const next = start + Math.floor((2 * changed.length) ** random());
    if (random() < 0.5) for (const [sector, offset] of changed.slice(start, next)) content.set(sector, offset);
    start = next;
  }
}
