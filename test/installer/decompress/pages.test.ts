import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wholePages } from '../../../installer/decompress/pages.ts';
import type { Extent } from '../../../installer/extent.ts';
import { Random } from './random.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

test('wholePages() gives the same bytes, cut at pages, with every long run of zero pages as a zero extent', async () => {
  const random = new Random(1);
  for (let round = 0; round < 40; round++) {
    const image = Buffer.concat(
      Array.from({ length: random.between(0, 12) }, () =>
        random.chance(2) ? Buffer.alloc(random.below(300 * KiB)) : random.bytes(random.below(120 * KiB)),
      ),
    );
    const source = pieces(image, random);
    let offset = 0;
    let previous: Extent['kind'] | undefined;
    const extents: string[] = [];
    for await (const extent of wholePages(source)) {
      const length = extent.kind === 'data' ? extent.bytes.length : extent.lengthBytes;
      assert.equal(offset % 4096, 0, 'an extent begins on a page');
      assert.ok(length > 0 && (extent.kind === 'zero' || length <= MiB), `${extent.kind} of ${length} bytes`);
      if (extent.kind === 'data') {
        assert.equal(extent.bytes.byteOffset % 4096, 0, 'data lies at an aligned address');
        assert.ok(image.subarray(offset, offset + length).equals(extent.bytes));
        extent.release();
      } else {
        assert.ok(image.subarray(offset, offset + length).equals(Buffer.alloc(length)));
        assert.notEqual(previous, 'zero', 'runs of zeroes are not split');
      }
      offset += length;
      previous = extent.kind;
      extents.push(`${extent.kind} ${length}`);
    }
    assert.equal(offset, image.length);
    assert.deepEqual(
      extents.filter((extent) => extent.startsWith('zero')),
      longZeroRuns(image).map((length) => `zero ${length}`),
    );
  }
});

test('wholePages() joins zero extents of any length', async () => {
  const source = async function* (): AsyncGenerator<Extent> {
    for (let i = 0; i < 1000; i++) yield { kind: 'zero', lengthBytes: 900_000 };
    yield data(Buffer.from('end'));
  };
  const extents = [];
  for await (const extent of wholePages(source())) extents.push(extent);
  // 900,000,000 bytes of zeroes do not end on a page: the rest of the last page is data.
  const zeroes = 900_000_000 - (900_000_000 % 4096);
  assert.deepEqual(extents[0], { kind: 'zero', lengthBytes: zeroes });
  assert.equal(extents[1]?.kind === 'data' && extents[1].bytes.length, (900_000_000 % 4096) + 3);
});

test('wholePages() uses the memory of released extents again, and more of it while extents are held', async () => {
  const image = new Random(2).bytes(40 * MiB);
  const memories = new Set<ArrayBufferLike>();
  for await (const extent of wholePages(pieces(image, new Random(3)))) {
    assert.equal(extent.kind, 'data');
    if (extent.kind !== 'data') continue;
    memories.add(extent.bytes.buffer);
    extent.release();
  }
  assert.equal(memories.size, 1);
  const held: Buffer[] = [];
  for await (const extent of wholePages(pieces(image, new Random(3)))) {
    if (extent.kind === 'data')
      held.push(Buffer.from(extent.bytes.buffer, extent.bytes.byteOffset, extent.bytes.length));
  }
  assert.ok(Buffer.concat(held).equals(image));
});

async function* pieces(image: Buffer, random: Random): AsyncGenerator<Extent> {
  for (let at = 0; at < image.length; ) {
    const piece = image.subarray(at, at + random.between(1, 200 * KiB));
    at += piece.length;
    if (piece.equals(Buffer.alloc(piece.length)) && random.chance(2)) yield { kind: 'zero', lengthBytes: piece.length };
    else yield data(piece);
  }
}

function data(bytes: Uint8Array): Extent {
  return { kind: 'data', bytes, release() {} };
}

/**
 * Lengths of the runs of zero pages of 64 KiB and more, by the plainest means; zeroes at the
 * image's end belong to the run before them.
 */
function longZeroRuns(image: Buffer): number[] {
  const runs: number[] = [];
  let run = 0;
  for (let at = 0; at < image.length; at += 4096) {
    const page = image.subarray(at, at + 4096);
    const zero = page.equals(Buffer.alloc(page.length));
    if (zero && (page.length === 4096 || run >= 64 * KiB)) run += page.length;
    if (zero && page.length === 4096) continue;
    if (run >= 64 * KiB) runs.push(run);
    run = 0;
  }
  if (run >= 64 * KiB) runs.push(run);
  return runs;
}

test('wholePages() passes on zeroes before their end: a flood of them is refused by its reader', async () => {
  let decoded = 0;
  async function* flood(): AsyncGenerator<Extent> {
    for (; decoded < 20 * 1024; decoded++) yield { kind: 'zero', lengthBytes: MiB };
  }
  let offset = 0;
  for await (const extent of wholePages(flood())) {
    assert.ok(extent.kind === 'zero');
    offset += extent.lengthBytes;
    if (offset > 1024 * MiB) break;
  }
  assert.ok(decoded < 2 * 1024, `${decoded} MiB were decoded`);
});
