import { wholePages } from '../decompress/pages.ts';
import type { Extent } from '../extent.ts';
import { OutOfOrderError, type RandomAccess, readInto } from '../fetch/random-access.ts';
import { type Batch, batchesOf, maxBatchBytes } from './batches.ts';
import { decodeCluster } from './compressed.ts';
import { damaged, unsupported } from './errors.ts';
import { type Header, readHeader } from './header.ts';
import { mapAhead } from './map-ahead.ts';
import { type DiskPiece, piecesOf } from './pieces.ts';

/** The disk in a qcow2 image. */
export interface Qcow2Disk {
  /** Size of the disk. It is known before any of its data is read. */
  readonly sizeBytes: number;
  /**
   * All of the disk, as `wholePages` describes it. Only clusters with data are read; the rest is
   * zero extents. Can be called once.
   * @throws {DecompressError} the image is damaged; it comes from a server without ranges and is
   *   not in the order of the disk; what the image throws
   */
  extents(): AsyncGenerator<Extent>;
}

/**
 * Batches that are read and decoded at once: so that a distant server does not set the pace, and
 * all cores decode. Each takes up to 4 MiB of what is read and 4 MiB of what comes of it.
 */
const batchesAhead = 4;

/** Clusters of one batch. Of tiny ones it may have thousands, and each has a decoder of its own. */
const decodedAtOnce = 16;

/**
 * Opens the disk in a qcow2 image of version 2 or 3: clusters of all sizes, compressed with zlib or
 * zstd, with subclusters. Internal snapshots and reference counts are ignored. An image that was
 * not closed (dirty) is accepted: only its reference counts may be wrong.
 *
 * Format: QEMU, docs/interop/qcow2.txt.
 * @throws {DecompressError} it is damaged, or has a backing file, encryption, an external data file
 *   or an unknown incompatible feature
 */
export async function openQcow2(image: RandomAccess, signal: AbortSignal): Promise<Qcow2Disk> {
  const header = await explained(readHeader(image, signal));
  return {
    sizeBytes: header.virtualBytes,
    extents: () => wholePages(extentsOf(image, header, signal)),
  };
}

async function* extentsOf(image: RandomAccess, header: Header, signal: AbortSignal): AsyncGenerator<Extent> {
  const stop = new AbortController();
  const running = AbortSignal.any([signal, stop.signal]);
  const buffers = new Buffers();
  const load = (batch: Batch) => loadBatch(image, header, batch, buffers, running);
  const batches = mapAhead(batchesOf(piecesOf(image, header, running)), batchesAhead, load, stop);
  try {
    for await (const extents of batches) yield* extents;
  } catch (error) {
    signal.throwIfAborted();
    throw explain(error);
  }
  await image.finish(signal);
}

async function loadBatch(
  image: RandomAccess,
  header: Header,
  { pieces, startBytes, endBytes }: Batch,
  buffers: Buffers,
  signal: AbortSignal,
): Promise<Extent[]> {
  const buffer = buffers.take(endBytes - startBytes);
  const bytes = buffer.subarray(0, await readInto(image, startBytes, buffer, signal));
  let users = 1;
  const release = () => {
    users--;
    if (users === 0) buffers.giveBack(buffer);
  };
  const toExtent = async (piece: DiskPiece): Promise<Extent> => {
    if (piece.kind === 'zero') return piece;
    const at = piece.offsetBytes - startBytes;
    if (piece.kind === 'compressed') {
      const cluster = await decodeCluster(bytes.subarray(at, at + piece.storedBytes), header, piece.offsetBytes);
      return { kind: 'data', bytes: cluster.subarray(0, piece.lengthBytes), release() {} };
    }
    const data = bytes.subarray(at, at + piece.lengthBytes);
    if (data.length < piece.lengthBytes)
      throw damaged(`it ends before the data at byte ${piece.offsetBytes}`, piece.offsetBytes);
    users++;
    return { kind: 'data', bytes: data, release };
  };
  const extents: Extent[] = [];
  for (let i = 0; i < pieces.length; i += decodedAtOnce)
    extents.push(...(await Promise.all(pieces.slice(i, i + decodedAtOnce).map(toExtent))));
  release();
  return extents;
}

/** Memory for batches, used again. */
class Buffers {
  readonly #free: Buffer[] = [];

  take(lengthBytes: number): Buffer {
    if (lengthBytes > maxBatchBytes) return Buffer.allocUnsafeSlow(lengthBytes);
    const whole = lengthBytes === 0 ? Buffer.alloc(0) : (this.#free.pop() ?? Buffer.allocUnsafeSlow(maxBatchBytes));
    return whole.subarray(0, lengthBytes);
  }

  giveBack({ buffer }: Buffer): void {
    if (buffer.byteLength === maxBatchBytes) this.#free.push(Buffer.from(buffer));
  }
}

async function explained<T>(result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (error) {
    throw explain(error);
  }
}

function explain(error: unknown): unknown {
  if (!(error instanceof OutOfOrderError)) return error;
  return unsupported(
    `its data is not in the order of the disk, and the server does not send parts of a file (serve it from a server with range requests, or write it in order with qemu-img convert -O qcow2 IMAGE NEW-IMAGE): ${error.message}`,
  );
}
