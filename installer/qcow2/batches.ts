import type { DiskPiece, Piece } from './pieces.ts';

/** Pieces of the disk in its order, and the one part of the file that has all of their data. */
export interface Batch {
  readonly pieces: readonly DiskPiece[];
  /** Both 0 if there are only zeroes. */
  readonly startBytes: number;
  readonly endBytes: number;
}

/** What is read at once, and also what comes of it: a few compressed bytes can be much data. */
export const maxBatchBytes = 4 * 1024 * 1024;
/** To read what is between two pieces costs less than another request. */
const maxGapBytes = 64 * 1024;

/** Groups pieces that are near each other in the file. Long ones are split. */
export async function* batchesOf(pieces: AsyncIterable<Piece>): AsyncGenerator<Batch> {
  let batch = new OpenBatch();
  for await (const piece of pieces) {
    for (const part of partsOf(piece)) {
      if (!batch.takes(part)) {
        yield batch.close();
        batch = new OpenBatch();
      }
      if (part.kind !== 'table') batch.add(part);
    }
  }
  yield batch.close();
}

function* partsOf(piece: Piece): Generator<Piece> {
  if (piece.kind !== 'data') return yield piece;
  const endBytes = piece.offsetBytes + piece.lengthBytes;
  for (let offsetBytes = piece.offsetBytes; offsetBytes < endBytes; offsetBytes += maxBatchBytes)
    yield { kind: 'data', offsetBytes, lengthBytes: Math.min(maxBatchBytes, endBytes - offsetBytes) };
}

class OpenBatch {
  readonly #pieces: DiskPiece[] = [];
  #start = 0;
  #end = 0;
  #dataBytes = 0;

  takes(piece: Piece): boolean {
    if (piece.kind === 'table') return false;
    if (piece.kind === 'zero' || this.#dataBytes === 0) return true;
    const [start, end] = rangeOf(piece);
    const isNear = start <= this.#end + maxGapBytes && end >= this.#start - maxGapBytes;
    const unionBytes = Math.max(end, this.#end) - Math.min(start, this.#start);
    return isNear && unionBytes <= maxBatchBytes && this.#dataBytes + piece.lengthBytes <= maxBatchBytes;
  }

  add(piece: DiskPiece): void {
    this.#pieces.push(piece);
    if (piece.kind === 'zero') return;
    const [start, end] = rangeOf(piece);
    this.#start = this.#dataBytes === 0 ? start : Math.min(start, this.#start);
    this.#end = Math.max(end, this.#end);
    this.#dataBytes += piece.lengthBytes;
  }

  close(): Batch {
    return { pieces: this.#pieces, startBytes: this.#start, endBytes: this.#end };
  }
}

function rangeOf(piece: Exclude<DiskPiece, { kind: 'zero' }>): [start: number, end: number] {
  const lengthBytes = piece.kind === 'data' ? piece.lengthBytes : piece.storedBytes;
  return [piece.offsetBytes, piece.offsetBytes + lengthBytes];
}
