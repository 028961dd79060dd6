import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 as crc32Of, gzipSync } from 'node:zlib';
import { crc32OfZeroes } from '../../../installer/decompress/crc32.ts';
import { gzip } from '../../../installer/decompress/gzip.ts';
import type { Extent } from '../../../installer/extent.ts';
import { chunks, collect } from './bzip2/decode.ts';
import { Random } from './random.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

async function extentsOf(file: Buffer, chunkBytes = 64 * KiB) {
  const extents: { kind: Extent['kind']; lengthBytes: number }[] = [];
  async function* watched() {
    for await (const extent of gzip(chunks(file, chunkBytes), undefined)) {
      const lengthBytes = extent.kind === 'zero' ? extent.lengthBytes : extent.bytes.length;
      extents.push({ kind: extent.kind, lengthBytes });
      yield extent;
    }
  }
  return { bytes: await collect(watched()), extents };
}

test('gzip() counts zeroes that are more than the window instead of writing them, whatever surrounds them', async () => {
  const random = new Random(1);
  const parts = [
    random.bytes(100_000),
    Buffer.alloc(5 * MiB),
    random.bytes(1),
    Buffer.alloc(3 * MiB + 1),
    random.bytes(70),
  ];
  for (const first of [0, 1]) {
    const image = Buffer.concat(parts.slice(first));
    for (const level of [1, 6, 9]) {
      const { bytes, extents } = await extentsOf(gzipSync(image, { level }));
      assert.ok(image.equals(bytes));
      const zeroes = extents
        .filter(({ kind }) => kind === 'zero')
        .reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
      // A window of each run, and the match in which it ends.
      assert.ok(zeroes > 8 * MiB - 100 * KiB, `level ${level}: ${zeroes} bytes of zeroes`);
    }
  }
});

test('gzip() passes on zeroes before their end: a flood of them is refused by its reader', async () => {
  const file = gzipSync(Buffer.alloc(512 * MiB));
  let given = 0;
  async function* source() {
    for await (const chunk of chunks(file, 1024)) {
      given += chunk.length;
      yield chunk;
    }
  }
  let decodedBytes = 0;
  for await (const extent of gzip(source(), undefined)) {
    decodedBytes += extent.kind === 'zero' ? extent.lengthBytes : extent.bytes.length;
    if (decodedBytes > 64 * MiB) break;
  }
  assert.ok(given < file.length / 2, `${given} of ${file.length} bytes were read`);
});

test('gzip() decodes many tiny members together, each with its check', async () => {
  const member = gzipSync(Buffer.from('abc'));
  const count = 100_000;
  const { bytes, extents } = await extentsOf(Buffer.alloc(count * member.length, member));
  assert.ok(bytes.equals(Buffer.alloc(count * 3, 'abc')));
  assert.equal(extents.length, 1);
  const damaged = Buffer.alloc(count * member.length, member);
  const at = 70_000 * member.length;
  damaged.writeUInt8(damaged.readUInt8(at + member.length - 8) ^ 1, at + member.length - 8);
  await assert.rejects(extentsOf(damaged), {
    name: 'DecompressError',
    message: new RegExp(`before byte ${at + member.length} is invalid: the checksum of what begins at byte ${at} is`),
  });
});

test('gzip() does not let a member refer to the one before', async () => {
  // A block with fixed codes: a length of 3 at the distance 1, the end of the block.
  const blocks = Buffer.from([0x03, 0x02, 0x00]);
  const first = gzipSync(Buffer.from('aaa'));
  const second = Buffer.concat([first.subarray(0, 10), blocks, Buffer.alloc(8)]);
  await assert.rejects(extentsOf(Buffer.concat([first, second])), /it refers to what is before its beginning/);
});

test('crc32OfZeroes() is the CRC-32 of zeroes after other bytes', () => {
  const random = new Random(4);
  for (let round = 0; round < 200; round++) {
    const before = random.bytes(random.below(20));
    const zeroes = Buffer.alloc(round < 20 ? round : random.below(3 * MiB));
    assert.equal(crc32OfZeroes(zeroes.length, crc32Of(before)), crc32Of(zeroes, crc32Of(before)));
  }
  // More than 32 bits of length: as twice the half.
  const half = 5 * 2 ** 32 + 3;
  assert.equal(crc32OfZeroes(2 * half, 123), crc32OfZeroes(half, crc32OfZeroes(half, 123)));
});
