import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deflateRawSync, zstdCompressSync } from 'node:zlib';
import type { RandomAccess } from '../../../installer/fetch/random-access.ts';
import { streamAccess } from '../../../installer/fetch/stream-access.ts';
import { openQcow2 } from '../../../installer/qcow2/qcow2.ts';
import { chunks, collect } from '../decompress/bzip2/decode.ts';
import { Random } from '../decompress/random.ts';
import {
  clusterBytes,
  compressedEntry,
  dataOffset,
  extension,
  type ImageParts,
  l1Offset,
  l2Offset,
  writeImage,
} from './writer.ts';

const never = new AbortController().signal;

/** An image in memory. */
function accessOf(file: Buffer): RandomAccess & { readonly readBytes: () => number } {
  let readBytes = 0;
  return {
    origin: 'memory',
    sizeBytes: file.length,
    isSequential: false,
    async *read(offsetBytes, lengthBytes, signal) {
      signal.throwIfAborted();
      const part = file.subarray(offsetBytes, offsetBytes + lengthBytes);
      readBytes += part.length;
      if (part.length > 0) yield part;
    },
    async finish() {},
    [Symbol.dispose]() {},
    readBytes: () => readBytes,
  };
}

async function decode(file: Buffer, signal = never): Promise<Buffer> {
  const disk = await openQcow2(accessOf(file), signal);
  return await collect(disk.extents());
}

/** As a stream of unknown length. */
async function decodeStream(file: Buffer): Promise<Buffer> {
  const bytes = chunks(file, 10_000);
  const stream = streamAccess({ origin: 'memory', sizeBytes: undefined, bytes, [Symbol.dispose]() {} });
  return await collect((await openQcow2(stream, never)).extents());
}

const random = new Random(1);
/** It has a whole sector more than a cluster of text would. */
const text = Buffer.alloc(clusterBytes, random.bytes(2000));
const zlib = (bytes: Buffer) => deflateRawSync(bytes, { windowBits: 12 });
const zstdParts = { incompatible: 8n, compressionType: 1 };
const inCluster = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(clusterBytes - bytes.length, 0xee)]);

test('openQcow2() decodes a small image that has every kind of cluster', async () => {
  const compressed = zlib(text);
  const parts: ImageParts = {
    l2: [BigInt(dataOffset), 1n, BigInt(dataOffset + clusterBytes) | 1n, compressedEntry(dataOffset + clusterBytes, 6)],
    data: Buffer.concat([Buffer.alloc(clusterBytes, 'data'), inCluster(compressed)]),
  };
  const expected = Buffer.concat([Buffer.alloc(clusterBytes, 'data'), Buffer.alloc(2 * clusterBytes), text]);
  assert.ok((await decode(writeImage(parts))).equals(expected));
  assert.ok((await decodeStream(writeImage(parts))).equals(expected));
});

const compression = {
  zlib: [{}, zlib],
  zstd: [zstdParts, (bytes: Buffer) => zstdCompressSync(bytes)],
} as const;
for (const [name, [parts, compress]] of Object.entries(compression)) {
  describe(`a cluster compressed with ${name}`, () => {
    const image = (data: Buffer, sectors = 6) =>
      writeImage({ ...parts, virtualBytes: BigInt(clusterBytes), l2: [compressedEntry(dataOffset, sectors)], data });

    test('may end in the sector in which the next one begins', async () => {
      const first = compress(text);
      const second = compress(Buffer.alloc(clusterBytes, 'x'));
      const sectors = (start: number, length: number) => Math.ceil(((start % 512) + length) / 512);
      const l2 = [
        compressedEntry(dataOffset, sectors(0, first.length)),
        compressedEntry(dataOffset + first.length, sectors(first.length, second.length)),
      ];
      const file = writeImage({
        ...parts,
        virtualBytes: BigInt(2 * clusterBytes),
        l2,
        data: Buffer.concat([first, second]),
      });
      assert.ok((await decode(file)).equals(Buffer.concat([text, Buffer.alloc(clusterBytes, 'x')])));
    });

    for (const [what, bytes, message] of [
      ['less than a cluster', text.subarray(1), /: it has 65535 bytes, and a cluster 65536$/],
      ['more than a cluster', Buffer.concat([text, text]), /: it has more bytes than a cluster, 65536$/],
      ['64 MiB of zeroes', Buffer.alloc(2 ** 26), /: it has more bytes than a cluster, 65536$/],
    ] as const) {
      test(`is refused with ${what}`, async () => {
        const file = image(inCluster(compress(bytes).subarray(0, clusterBytes)), 128);
        await assert.rejects(decode(file), { name: 'DecompressError', message, offsetBytes: dataOffset });
      });
    }

    test('is refused when it is damaged, or is cut short', async () => {
      const damaged = compress(text);
      damaged[10] = (damaged[10] ?? 0) ^ 0xff;
      damaged[11] = (damaged[11] ?? 0) ^ 0xff;
      for (const file of [image(inCluster(damaged)), image(Buffer.alloc(clusterBytes, 0xee)), image(compress(text), 1)])
        await assert.rejects(decode(file), { name: 'DecompressError', offsetBytes: dataOffset });
    });
  });
}

const refused: Readonly<Record<string, readonly [parts: ImageParts | Buffer, why: string]>> = {
  'a file that ends in the header': [writeImage().subarray(0, 70), 'it has only 70 bytes'],
  'a file that ends in the header of version 3': [writeImage().subarray(0, 100), 'it has only 100 bytes'],
  'another beginning': [Buffer.alloc(1000, 'no'), 'it does not begin as one'],
  'clusters of 256 bytes': [{ clusterBits: 8 }, 'its clusters have 2^8 bytes; they can have 2^9 to 2^21'],
  'clusters of 4 MiB': [{ clusterBits: 22 }, 'its clusters have 2^22 bytes; they can have 2^9 to 2^21'],
  'a short header': [{ headerBytes: 96, extensions: Buffer.alloc(0) }, 'its header has 96 bytes'],
  'a long header': [{ headerBytes: 65_544 }, 'its header has 65544 bytes'],
  'a disk of 2^60 bytes': [{ virtualBytes: 2n ** 60n }, 'its disk has 1152921504606846976 bytes'],
  'half a sector': [{ virtualBytes: 100n }, 'its disk has 100 bytes, which are not whole sectors'],
  'an L1 table of 32 GiB': [{ l1Entries: 0xffffffff }, 'its L1 table has 4294967295 entries, more than 4194304'],
  'an L1 table that is too small': [
    { virtualBytes: 2n ** 40n, l1Entries: 1 },
    'its L1 table has 1 entries, and 1099511627776 bytes of disk need 2048',
  ],
  'an L1 table within a cluster': [
    { l1OffsetBytes: BigInt(l1Offset + 8) },
    'its L1 table is at byte 65544, which is not the beginning of a cluster',
  ],
  'an L1 table in the header': [
    { l1OffsetBytes: 0n },
    'its L1 table is at byte 0, which is not the beginning of a cluster',
  ],
  'an L1 table behind the end': [
    { l1OffsetBytes: BigInt(2 ** 40) },
    'its L1 table is at byte 1099511627776, and the file has only 262144 bytes',
  ],
  'subclusters in clusters of 8 KiB': [
    { clusterBits: 13, incompatible: 16n },
    'its clusters of 8192 bytes are too small for subclusters',
  ],
  'a compression that contradicts the features': [
    { compressionType: 1 },
    'its kind of compression contradicts its features',
  ],
  'a header extension without an end': [
    { extensions: extension(0x11111111, Buffer.alloc(0), 70_000) },
    'its header extension at byte 112 has 70000 bytes',
  ],
  'the end of the header extensions with a length': [
    { extensions: extension(0, Buffer.alloc(0), 2 ** 31) },
    'its header extension at byte 112 has 2147483648 bytes',
  ],
  'the name of a backing file outside of the header': [
    { backingOffsetBytes: 2n ** 63n, backingBytes: 10 },
    'the name of its backing file has 10 bytes at byte 9223372036854775808',
  ],
  'a mark as corrupt': [{ incompatible: 2n }, 'it is marked as corrupt (repair it with qemu-img check -r all IMAGE)'],
  'an L2 table within a cluster': [
    { l1: [BigInt(l2Offset + 512)] },
    'L1 entry 0 names byte 131584, which is not the beginning of a cluster',
  ],
  'an L2 table behind the end': [
    { l1: [BigInt(2 ** 50)] },
    'the L2 table at byte 1125899906842624 is not all in the file',
  ],
  'data within a cluster': [
    { l2: [BigInt(dataOffset + 512)] },
    'L2 entry at byte 131072 names byte 197120, which is not the beginning of a cluster',
  ],
  'data behind the end': [
    { l2: [0n, BigInt(2 ** 54)] },
    'L2 entry at byte 131080 names data at byte 18014398509481984, and the file has only 262144 bytes',
  ],
  'data that ends behind the end': [
    { data: Buffer.alloc(clusterBytes - 1) },
    'L2 entry at byte 131072 names data at byte 196608, and the file has only 262143 bytes',
  ],
  'compressed data behind the end': [
    { l2: [compressedEntry(2 ** 40, 1)] },
    'L2 entry at byte 131072 names data at byte 1099511627776, and the file has only 262144 bytes',
  ],
  'data in the L1 table': [{ l2: [BigInt(l1Offset)] }, 'L2 entry at byte 131072 names a part of the L1 table as data'],
  'compressed data in the header': [
    { l2: [compressedEntry(100, 1)] },
    'L2 entry at byte 131072 names a part of the header as data',
  ],
  'a zero cluster of version 3 in version 2': [{ version: 2, l2: [1n] }, 'L2 entry at byte 131072 is one of version 3'],
  'a subcluster that has data and is zero': [
    { incompatible: 16n, l2: [BigInt(dataOffset), 0x0000_0001_0000_0001n] },
    'L2 entry at byte 131072 contradicts itself',
  ],
  'a subcluster with data in no cluster': [
    { incompatible: 16n, l2: [0n, 1n] },
    'L2 entry at byte 131072 contradicts itself',
  ],
};
describe('openQcow2() refuses an image that is damaged', () => {
  for (const [name, [parts, why]] of Object.entries(refused)) {
    test(name, async () => {
      const file = Buffer.isBuffer(parts) ? parts : writeImage(parts);
      await assert.rejects(decode(file), {
        name: 'DecompressError',
        message: `cannot decode the image: the qcow2 image is damaged: ${why}`,
      });
    });
  }

  test('at every length of the file', async () => {
    const file = writeImage();
    for (let length = 0; length < file.length; length += 1 + Math.floor(length / 50)) {
      await assert.rejects(decode(file.subarray(0, length)), { name: 'DecompressError' }, `${length} bytes`);
      await assert.rejects(
        decodeStream(file.subarray(0, length)),
        { name: 'DecompressError' },
        `a stream of ${length} bytes`,
      );
    }
  });
});

const convert = 'convert it with qemu-img convert -O qcow2 IMAGE NEW-IMAGE';
const unsupported: Readonly<Record<string, readonly [parts: ImageParts, why: string]>> = {
  'version 1': [{ version: 1 }, `it is a qcow2 image of version 1, and only 2 and 3 are supported (${convert})`],
  'an unknown compression': [
    { compressionType: 2, incompatible: 8n },
    `it has compressed clusters of an unknown kind (2); zlib and zstd are supported (${convert})`,
  ],
  'an unknown feature': [
    { incompatible: 1n << 40n },
    `it is a qcow2 image with the feature of bit 40, which is not supported (${convert})`,
  ],
  'an unknown feature that has a name': [
    { incompatible: 1n << 7n, featureNames: { 7: 'time travel' } },
    `it is a qcow2 image with the feature time travel, which is not supported (${convert})`,
  ],
  'an external data file without a name': [
    { incompatible: 4n },
    'it is a qcow2 image with its data in another file (make one image of both with qemu-img convert -O qcow2 IMAGE NEW-IMAGE)',
  ],
  'encryption with LUKS': [
    { encryption: 2 },
    'it is a qcow2 image with encryption (LUKS) (decrypt it with qemu-img convert --object secret,id=key,file=PASSWORD-FILE --image-opts driver=qcow2,file.filename=IMAGE,encrypt.key-secret=key -O qcow2 NEW-IMAGE)',
  ],
  'an unknown encryption': [
    { encryption: 9 },
    'it is a qcow2 image with encryption (method 9) (decrypt it with qemu-img convert --object secret,id=key,file=PASSWORD-FILE --image-opts driver=qcow2,file.filename=IMAGE,encrypt.key-secret=key -O qcow2 NEW-IMAGE)',
  ],
};
describe('openQcow2() refuses an image that it cannot decode, with what to do', () => {
  for (const [name, [parts, why]] of Object.entries(unsupported)) {
    test(name, async () => {
      await assert.rejects(decode(writeImage(parts)), {
        name: 'DecompressError',
        message: `cannot decode the image: ${why}`,
      });
    });
  }
});

test('openQcow2() accepts an image that was not closed', async () => {
  assert.equal((await decode(writeImage({ incompatible: 1n }))).length, 4 * clusterBytes);
});

test('openQcow2() decodes no more than the disk when tables name each other and themselves', async () => {
  const l2 = Array.from({ length: 8192 }, () => BigInt(l2Offset));
  const virtualBytes = 8192 * clusterBytes * 2;
  const access = accessOf(
    writeImage({ l1: [BigInt(l2Offset), BigInt(l2Offset)], l2, virtualBytes: BigInt(virtualBytes) }),
  );
  const disk = await openQcow2(access, never);
  let decodedBytes = 0;
  for await (const extent of disk.extents()) {
    decodedBytes += extent.kind === 'zero' ? extent.lengthBytes : extent.bytes.length;
    if (extent.kind === 'data') extent.release();
    if (decodedBytes > 64 * 2 ** 20) break;
  }
  assert.equal(disk.sizeBytes, virtualBytes);
  assert.ok(access.readBytes() < 128 * 2 ** 20);
});

test('openQcow2() lets others work while it reads tables without data, and stops', async () => {
  // 4 million entries of the L1 table, each for the same L2 table of 64 clusters without data.
  const l1Entries = 4 * 2 ** 20;
  const file = Buffer.alloc(1024 + l1Entries * 8 + 512);
  const l2 = 1024 + l1Entries * 8;
  writeImage({ clusterBits: 9, virtualBytes: BigInt(l1Entries * 64 * 512), l1Entries, l1OffsetBytes: 1024n }).copy(
    file,
    0,
    0,
    512,
  );
  for (let i = 0; i < l1Entries; i++) file.writeBigUInt64BE(BigInt(l2), 1024 + i * 8);
  const abort = new AbortController();
  setImmediate(() => setImmediate(() => setImmediate(() => abort.abort(new Error('enough')))));
  await assert.rejects(decode(file, abort.signal), /^Error: enough$/);
});
