/** Disks in qcow2 images; `test/installer/qcow2/fuzz.ts` compares what comes out with qemu-img. */
import { deflateRawSync, zstdCompressSync } from 'node:zlib';
import { DecompressError } from '../../../installer/decompress/error.ts';
import type { RandomAccess } from '../../../installer/fetch/random-access.ts';
import { streamAccess } from '../../../installer/fetch/stream-access.ts';
import { openQcow2 } from '../../../installer/qcow2/qcow2.ts';
import { require, type Target } from '../target.ts';

const clusterBytes = 512;
const dataOffset = 3 * clusterBytes;

/** An image with the smallest clusters: header, L1 table, L2 table, data. */
function imageOf(
  l2: readonly bigint[],
  data: Buffer,
  { incompatible = 0n, version = 3, compression = 0, clusters = 6 } = {},
): Buffer {
  const file = Buffer.alloc(dataOffset + data.length);
  file.write('QFI\xfb', 'latin1');
  file.writeUInt32BE(version, 4);
  file.writeUInt32BE(9, 20);
  file.writeBigUInt64BE(BigInt(clusters * clusterBytes), 24);
  file.writeUInt32BE(1, 36);
  file.writeBigUInt64BE(BigInt(clusterBytes), 40);
  file.writeBigUInt64BE(incompatible, 72);
  file.writeUInt32BE(4, 96);
  file.writeUInt32BE(112, 100);
  file[104] = compression;
  file.writeBigUInt64BE(BigInt(2 * clusterBytes), clusterBytes);
  for (const [index, entry] of l2.entries()) file.writeBigUInt64BE(entry, 2 * clusterBytes + index * 8);
  data.copy(file, dataOffset);
  return file;
}

const content = Buffer.alloc(clusterBytes, 'content');
const inCluster = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(clusterBytes - bytes.length)]);
const compressed = (1n << 62n) | BigInt(dataOffset);

function accessOf(file: Buffer): RandomAccess {
  return {
    ...{ origin: 'memory', sizeBytes: file.length, isSequential: false },
    async *read(offsetBytes, lengthBytes) {
      const part = file.subarray(offsetBytes, offsetBytes + lengthBytes);
      if (part.length > 0) yield part;
    },
    async finish() {},
    [Symbol.dispose]() {},
  };
}

async function* pieces(file: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < file.length; at += 1000) yield file.subarray(at, at + 1000);
}

/** A few bytes describe disks of any size: what follows is not looked at. */
const maxDataBytes = 4 * 1024 * 1024;
const maxExtents = 10_000;

async function read(image: RandomAccess): Promise<void> {
  const disk = await openQcow2(image, new AbortController().signal);
  // One of 0 bytes is opened, as by qemu-img; who writes an image refuses an empty one.
  require(Number.isSafeInteger(disk.sizeBytes) && disk.sizeBytes >= 0, () => `a disk of ${disk.sizeBytes} bytes`);
  let [offsetBytes, dataBytes, extents] = [0, 0, 0];
  for await (const extent of disk.extents()) {
    const lengthBytes = extent.kind === 'data' ? extent.bytes.length : extent.lengthBytes;
    offsetBytes += lengthBytes;
    require(lengthBytes > 0 && offsetBytes <= disk.sizeBytes, () => `${offsetBytes} of ${disk.sizeBytes} bytes`);
    if (extent.kind === 'data') {
      dataBytes += extent.bytes.length;
      extent.release();
    }
    if (dataBytes > maxDataBytes || ++extents > maxExtents) return;
  }
  require(offsetBytes === disk.sizeBytes, () => `${offsetBytes} bytes of a disk of ${disk.sizeBytes}`);
}

export const qcow2Target: Target = {
  name: 'qcow2',
  seeds: [
    imageOf([BigInt(dataOffset), 0n, 1n, BigInt(dataOffset + clusterBytes)], Buffer.concat([content, content])),
    imageOf([BigInt(dataOffset)], content, { version: 2 }),
    imageOf([compressed, 0n, compressed], inCluster(deflateRawSync(content, { windowBits: 12 }))),
    imageOf([compressed], inCluster(zstdCompressSync(content)), { incompatible: 8n, compression: 1 }),
    imageOf([], content, { clusters: 0 }),
  ],
  words: ['QFI\xfb', '\0\0\0\0\0\0\x04\0', '\0\0\0\0\0\0\x06\0', '\x40\0\0\0\0\0\x06\0', '\x80\0\0\0\0\0\x06\0'],
  maxBytes: 16 * 1024,
  refusals: [DecompressError],
  microsecondsPerByte: 100,
  async check(input) {
    const bytes = pieces(input);
    for (const image of [
      accessOf(input),
      streamAccess({ origin: 'memory', sizeBytes: undefined, bytes, [Symbol.dispose]() {} }),
    ]) {
      try {
        await read(image);
      } catch (error) {
        if (!(error instanceof DecompressError)) throw error;
      }
    }
  },
};
