import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { zstd } from '../../../installer/decompress/zstd.ts';
import { ZstdContext } from '../../../installer/decompress/zstd-context.ts';
import { chunks, collect } from './bzip2/decode.ts';
import { Random } from './random.ts';

const MiB = 1024 * 1024;

test('ZstdContext decodes step by step into the same memory, which the stream of this Node has no way to', () => {
  const content = new Random(1).bytes(3 * MiB, 3);
  const frame = zstdCompressSync(content);
  using context = new ZstdContext(2 ** 27);
  const [parts, memories]: [Buffer[], Set<ArrayBufferLike>] = [[], new Set()];
  for (let rest: Uint8Array = frame; rest.length > 0 || context.isFull; ) {
    const step = context.decode(rest);
    assert.ok(step.kind === 'decoded');
    rest = rest.subarray(step.usedBytes);
    parts.push(Buffer.from(step.bytes));
    memories.add(step.bytes.buffer);
  }
  assert.ok(content.equals(Buffer.concat(parts)));
  assert.equal(memories.size, 1);
  assert.ok(context.isBetweenFrames());
  context.decode(frame.subarray(0, 100));
  assert.ok(!context.isBetweenFrames());
  assert.equal(context.decode(Buffer.alloc(200_000, 'damage')).kind, 'failed');
});

test('zstd() ends a frame wherever its output and its input end', async () => {
  const random = new Random(2);
  for (const sizeBytes of [0, 1, MiB - 1, MiB, MiB + 1, 2 * MiB]) {
    // With and without the checksum that ends a frame; of a run and of other bytes.
    for (const content of [Buffer.alloc(sizeBytes), random.bytes(sizeBytes, 200)]) {
      const frame = zstdCompressSync(content);
      for (const trailer of ['', '(', '(\xb5/', 'garbage']) {
        const file = Buffer.concat([frame, frame, Buffer.from(trailer, 'latin1')]);
        for (const chunkBytes of [frame.length, frame.length + 1, frame.length - 1, 2 * frame.length, 2 * MiB]) {
          const warnings: string[] = [];
          const onWarning = (message: string) => void warnings.push(message);
          const decoded = await collect(zstd(chunks(file, chunkBytes), undefined, undefined, onWarning));
          const described = `${sizeBytes} bytes, chunks of ${chunkBytes} of ${frame.length}, ${trailer}`;
          assert.ok(decoded.equals(Buffer.concat([content, content])), described);
          const warning = `the image is followed by ${trailer.length} bytes that are not zstd; they are ignored`;
          assert.deepEqual(warnings, trailer === '' ? [] : [warning], described);
        }
      }
    }
  }
});

test('zstd() decodes many tiny frames, and skips what is to be skipped', async () => {
  const frame = zstdCompressSync(Buffer.from('abc'));
  const skippable = Buffer.from('502a4d1803000000616263', 'hex');
  const pair = Buffer.concat([frame, skippable]);
  const file = Buffer.alloc(10_000 * pair.length, pair);
  assert.ok((await collect(zstd(chunks(file, 65_536), undefined))).equals(Buffer.alloc(30_000, 'abc')));
  await assert.rejects(collect(zstd(chunks(file.subarray(0, -12), 65_536), undefined)), /the file ends unexpectedly/);
});
