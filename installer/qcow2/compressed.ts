import { promisify } from 'node:util';
import { constants, inflateRaw, zstdDecompress } from 'node:zlib';
import { reasonOf } from '../../errors/reason.ts';
import type { DecompressError } from '../decompress/error.ts';
import { damaged } from './errors.ts';
import type { Header } from './header.ts';
import { zstdFrameBytes } from './zstd-frame.ts';

const inflate = promisify(inflateRaw);
const unzstd = promisify(zstdDecompress);

/** 8 MiB. A cluster has at most 2 MiB. */
const zstdWindowLog = 23;

/**
 * Decodes a compressed cluster, in the threads of Node.
 *
 * @param stored the sectors with the compressed data. What follows it there is ignored.
 * @param offsetBytes of `stored` in the file, for messages
 * @throws {DecompressError} the data is damaged, or is not exactly one cluster
 */
export async function decodeCluster(
  stored: Buffer,
  { compression, clusterBytes }: Pick<Header, 'compression' | 'clusterBytes'>,
  offsetBytes: number,
): Promise<Uint8Array> {
  // Without an end the decoder says what is wrong.
  const frame = compression === 'zstd' ? stored.subarray(0, zstdFrameBytes(stored)) : stored;
  const sizes = { chunkSize: clusterBytes, maxOutputLength: clusterBytes };
  let cluster: Uint8Array;
  try {
    cluster =
      compression === 'zlib'
        ? // The end of the stream may be missing: QEMU accepts that too.
          await inflate(frame, { ...sizes, finishFlush: constants.Z_SYNC_FLUSH })
        : await unzstd(frame, { ...sizes, params: { [constants.ZSTD_d_windowLogMax]: zstdWindowLog } });
  } catch (cause) {
    throw damagedCluster(compression, offsetBytes, reasonFor(cause, clusterBytes));
  }
  if (cluster.length === clusterBytes) return cluster;
  throw damagedCluster(compression, offsetBytes, `it has ${cluster.length} bytes, and a cluster ${clusterBytes}`);
}

function damagedCluster(compression: string, offsetBytes: number, why: string): DecompressError {
  return damaged(`the ${compression} data at byte ${offsetBytes} is damaged: ${why}`, offsetBytes);
}

function reasonFor(cause: unknown, clusterBytes: number): string {
  const isTooLong = cause instanceof Error && 'code' in cause && cause.code === 'ERR_BUFFER_TOO_LARGE';
  return isTooLong ? `it has more bytes than a cluster, ${clusterBytes}` : reasonOf(cause);
}
