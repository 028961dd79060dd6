import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { openDisk } from '../../../installer/disk/device.ts';
import { ImageDigests, windowBytes } from '../../../installer/disk/read-back.ts';
import { writeImage } from '../../../installer/disk/write.ts';
import type { Extent } from '../../../installer/extent.ts';
import { makeFlatcarImage, partitionOffsetBytes } from '../../sandbox/flatcar-layout.ts';
import { ImageExtents } from '../../sandbox/image-extents.ts';
import { createLoopDevice, type LoopDevice } from '../../sandbox/loop-device.ts';

const mebibyte = 1024 * 1024;

const data = (bytes: Uint8Array): Extent => ({ kind: 'data', bytes, release() {} });
const zero = (lengthBytes: number): Extent => ({ kind: 'zero', lengthBytes });

test('ImageDigests knows each window again, however its pieces were cut, and no other', () => {
  const image = Buffer.concat([
    Buffer.alloc(windowBytes + 5),
    randomBytes(windowBytes),
    Buffer.alloc(2 * windowBytes),
    randomBytes(77),
  ]);
  const cut = new ImageDigests();
  cut.add(zero(windowBytes + 1));
  for (let offset = windowBytes + 1; offset < image.length; offset += 999_983)
    cut.add(data(image.subarray(offset, offset + 999_983)));
  cut.end();
  const runs = new ImageDigests();
  runs.add(zero(windowBytes + 5));
  runs.add(data(image.subarray(windowBytes + 5, 2 * windowBytes + 5)));
  runs.add(zero(2 * windowBytes));
  runs.add(data(image.subarray(-77)));
  runs.end();
  for (const digests of [cut, runs]) {
    for (let window = 0; window * windowBytes < image.length; window++) {
      const bytes = Buffer.from(image.subarray(window * windowBytes, (window + 1) * windowBytes));
      assert.ok(digests.matches(window, bytes), `window ${window}`);
      for (const place of [0, bytes.length - 1]) {
        bytes[place] = (bytes[place] ?? 0) ^ 1;
        assert.ok(!digests.matches(window, bytes), `window ${window} changed at ${place}`);
        bytes[place] = (bytes[place] ?? 0) ^ 1;
      }
    }
  }
});

let directory: string;
let image: string;
let imageBytes: number;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-read-back-'));
  image = join(directory, 'image');
  imageBytes = await makeFlatcarImage({ path: image });
});
after(() => rm(directory, { recursive: true }));

/** What a disk does that does not keep what it was given: behind the back of the kernel's cache. */
async function corrupt(loop: LoopDevice, offset: number): Promise<void> {
  await using file = await open(loop.backingPath, 'r+');
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, offset);
  await file.write(Buffer.of((buffer[0] ?? 0) ^ 1), 0, 1, offset);
}

for (const [name, sizeBytes] of [
  ['a larger disk', () => imageBytes + 20 * mebibyte],
  ['a disk as large as the image', () => imageBytes],
] as const) {
  test(`readBack() finds everything as it was written to ${name}`, async () => {
    await using loop = await createLoopDevice({ sizeBytes: sizeBytes() });
    await using disk = await openDisk(loop.path);
    const written = await writeImage(new ImageExtents(image, { pieceBytes: mebibyte }), disk, { readBack: true });
    const progress: number[] = [];
    await written.readBack?.((doneBytes) => progress.push(doneBytes));
    assert.equal(progress.at(-1), imageBytes);
    assert.deepEqual(
      progress.toSorted((a, b) => a - b),
      progress,
    );
    await written.commit();
    await execa('cmp', ['--bytes', String(imageBytes), loop.path, image]);
  });
}

for (const [name, offset] of [
  ['a byte of a file system', () => partitionOffsetBytes('USR-A') + 1_000_000],
  ['a zero', () => partitionOffsetBytes('USR-B') + 5 * mebibyte],
  ['the last byte of a partition', () => imageBytes - 2 * mebibyte - 1],
] as const) {
  test(`readBack() finds that the disk lost ${name}, and where`, async () => {
    await using loop = await createLoopDevice({ sizeBytes: imageBytes + 20 * mebibyte });
    await using disk = await openDisk(loop.path);
    const written = await writeImage(new ImageExtents(image, { pieceBytes: mebibyte }), disk, { readBack: true });
    await corrupt(loop, offset());
    const window = Math.floor(offset() / windowBytes) * windowBytes;
    await assert.rejects(
      async () => await written.readBack?.(),
      new RegExp(
        `cannot read back ${loop.path}: data read back differs from what was written, within the 0\\.004GB after byte ${window} `,
      ),
    );
  });
}

test('commit() compares what it writes, and removes the table from a disk that lost a byte of it', async () => {
  await using loop = await createLoopDevice({ sizeBytes: imageBytes + 20 * mebibyte });
  await using disk = await openDisk(loop.path);
  const written = await writeImage(new ImageExtents(image, { pieceBytes: mebibyte }), disk, { readBack: true });
  const readBack = disk.readBack.bind(disk);
  disk.readBack = async (offset, length) => {
    if (offset === 0) await corrupt(loop, 700);
    return await readBack(offset, length);
  };
  await assert.rejects(
    written.commit(),
    new RegExp(
      `cannot install to ${loop.path}: cannot read back ${loop.path}: data read back differs .* after byte 0 .*; the disk was left without a partition table`,
    ),
  );
  assert.ok((await readBack(0, mebibyte)).every((byte) => byte === 0));
});

test('writeImage() remembers nothing where reading back was not asked for', async () => {
  await using loop = await createLoopDevice({ sizeBytes: imageBytes });
  await using disk = await openDisk(loop.path);
  const written = await writeImage(new ImageExtents(image, { pieceBytes: mebibyte }), disk);
  assert.equal(written.readBack, undefined);
});
