import assert from 'node:assert/strict';
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { openDisk } from '../../../installer/disk/device.ts';
import { DiskError, IncompleteWriteError } from '../../../installer/disk/errors.ts';
import { encodeTable, type Partition, parseTable } from '../../../installer/disk/gpt.ts';
import { type WriteProgress, writeImage } from '../../../installer/disk/write.ts';
import { makeFlatcarImage } from '../../sandbox/flatcar-layout.ts';
import { ImageExtents } from '../../sandbox/image-extents.ts';
import { createLoopDevice, type LoopDevice } from '../../sandbox/loop-device.ts';

const mebibyte = 1024 * 1024;

let directory: string;
let image: string;
let imageBytes: number;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-write-'));
  image = join(directory, 'image');
  imageBytes = await makeFlatcarImage({ path: image });
});

after(() => rm(directory, { recursive: true }));

/** By the bytes at both ends and by every tool that a table could be seen with. */
async function assertNoTable(loop: LoopDevice): Promise<void> {
  await using device = await open(loop.path, 'r');
  for (const offset of [0, loop.sizeBytes - mebibyte]) {
    const { buffer } = await device.read(Buffer.alloc(mebibyte), 0, mebibyte, offset);
    assert.ok(
      buffer.every((byte) => byte === 0),
      `bytes are left within the MiB at ${offset}`,
    );
  }
  const [blkid, partx, sgdisk] = await Promise.all([
    execa('blkid', ['--probe', loop.path], { reject: false }),
    execa('partx', ['--show', loop.path], { reject: false }),
    execa('sgdisk', ['--print', loop.path], { reject: false }),
  ]);
  assert.equal(blkid.exitCode, 2, blkid.stdout);
  assert.match(partx.stderr, /failed to read partition table/);
  assert.match(sgdisk.stdout, /Creating new GPT entries/);
}

/** A disk of an earlier life: a table at both ends, and no byte of it zero in between. */
async function makeDirtyDisk(sizeBytes: number): Promise<LoopDevice> {
  const loop = await createLoopDevice({ sizeBytes });
  await using device = await open(loop.path, 'r+');
  const dirt = Buffer.alloc(4 * mebibyte, 0xee);
  for (let offset = 0; offset < sizeBytes; offset += dirt.length) {
    await device.write(dirt, 0, Math.min(dirt.length, sizeBytes - offset), offset);
  }
  await device.sync();
  const input = 'label: gpt\n1: start=2048, size=16384';
  await execa('sfdisk', ['--quiet', '--wipe=never', '--no-reread', '--no-tell-kernel', loop.path], { input });
  return loop;
}

async function assertTouched(loop: LoopDevice, touched: boolean): Promise<void> {
  if (touched) return await assertNoTable(loop);
  const { stdout } = await execa('sfdisk', ['--dump', loop.path]);
  assert.match(stdout, /start= +2048, size= +16384/);
}

async function assertSameAsImage(loop: LoopDevice): Promise<void> {
  await execa('cmp', ['--bytes', String(imageBytes), loop.path, image]);
}

for (const offload of [true, false]) {
  for (const pieceBytes of [mebibyte, 777_777]) {
    const how = `in pieces of ${pieceBytes} bytes, zeroes ${offload ? 'offloaded' : 'written'}`;
    test(`writeImage() and commit() put the image onto a dirty disk byte for byte, ${how}`, async () => {
      await using loop = await makeDirtyDisk(imageBytes + 20 * mebibyte);
      await using disk = await openDisk(loop.path);
      if (!offload) disk.disableZeroOffload();
      const extents = new ImageExtents(image, { pieceBytes });
      const written = await writeImage(extents, disk);

      assert.equal(written.sizeBytes, imageBytes);
      assert.equal(extents.outstanding, 0);
      assert.ok(offload ? written.zeroedBytes > 100 * mebibyte : written.zeroedBytes === 0);
      assert.equal(written.writtenBytes + written.zeroedBytes, imageBytes - mebibyte);
      assert.deepEqual(
        written.table?.partitions.map(({ label }) => label),
        ['EFI-SYSTEM', 'BIOS-BOOT', 'USR-A', 'USR-B', 'OEM', 'OEM-CONFIG', 'ROOT'],
      );
      await assertNoTable(loop);

      await written.commit();
      await assertSameAsImage(loop);
      const verdict = (await execa('sgdisk', ['--print', loop.path], { reject: false })).stdout;
      assert.match(verdict, /OEM-CONFIG/);
    });
  }
}

test('writeImage() tells its progress up to the whole image', async () => {
  await using loop = await createLoopDevice({ sizeBytes: imageBytes + mebibyte });
  await using disk = await openDisk(loop.path);
  const seen: WriteProgress[] = [];
  await writeImage(new ImageExtents(image), disk, { onProgress: (progress) => seen.push(progress) });
  const last = seen.at(-1);
  assert.equal(last?.doneBytes, imageBytes - mebibyte);
  assert.equal(last?.imageSizeBytes, imageBytes);
  assert.ok(seen.every(({ doneBytes }, index) => doneBytes > (seen[index - 1]?.doneBytes ?? 0)));
});

test('an image as large as the disk has its backup table withheld too', async () => {
  await using loop = await createLoopDevice({ sizeBytes: imageBytes });
  await using disk = await openDisk(loop.path);
  const written = await writeImage(new ImageExtents(image), disk);
  await assertNoTable(loop);
  await written.commit();
  await assertSameAsImage(loop);
});

for (const { where, failAtBytes, touched } of [
  { where: 'before its first byte', failAtBytes: 0, touched: false },
  { where: 'within its first MiB', failAtBytes: mebibyte / 2, touched: false },
  { where: 'right after its first MiB', failAtBytes: mebibyte, touched: true },
  { where: 'within the first partition', failAtBytes: 20 * mebibyte, touched: true },
  { where: 'before its last MiB', failAtBytes: 227 * mebibyte, touched: true },
]) {
  test(`an image that breaks off ${where} leaves the disk ${touched ? 'without a table' : 'untouched'}`, async () => {
    await using loop = await makeDirtyDisk(imageBytes);
    const cause = new Error('the image broke off');
    const extents = new ImageExtents(image, { pieceBytes: mebibyte / 2, failAtBytes, error: cause });
    {
      await using disk = await openDisk(loop.path);
      await assert.rejects(writeImage(extents, disk), (error: unknown) => {
        if (!touched) return error === cause;
        assert.ok(error instanceof IncompleteWriteError);
        assert.equal(error.cause, cause);
        assert.equal(
          error.message,
          `cannot install to ${loop.path}: the image broke off; the disk was left without a partition table and will not boot`,
        );
        return true;
      });
      assert.equal(extents.outstanding, 0);
      await assertTouched(loop, touched);
    }
    await assertTouched(loop, touched);
  });
}

test('an interrupted writeImage() leaves the disk without a table and says that it was interrupted', async () => {
  await using loop = await makeDirtyDisk(imageBytes + 20 * mebibyte);
  await using disk = await openDisk(loop.path);
  const interrupt = new AbortController();
  const onPiece = (offset: number) => {
    if (offset === 40 * mebibyte) interrupt.abort();
  };
  const writing = writeImage(new ImageExtents(image, { onPiece }), disk, { signal: interrupt.signal });
  await assert.rejects(writing, /it was interrupted; the disk was left without a partition table/);
  await assertNoTable(loop);
});

test('a signal that is aborted before anything happened leaves the disk untouched', async () => {
  await using loop = await makeDirtyDisk(imageBytes);
  await using disk = await openDisk(loop.path);
  await assert.rejects(writeImage(new ImageExtents(image), disk, { signal: AbortSignal.abort() }), {
    name: 'AbortError',
  });
  await assertTouched(loop, false);
});

test('writeImage() refuses an image larger than the disk before touching it', async () => {
  await using loop = await makeDirtyDisk(imageBytes - mebibyte);
  await using disk = await openDisk(loop.path);
  await assert.rejects(writeImage(new ImageExtents(image), disk), (error: unknown) => {
    assert.ok(error instanceof DiskError && !(error instanceof IncompleteWriteError));
    assert.ok(error.message.includes(`the image has ${imageBytes} bytes and the disk only ${imageBytes - mebibyte}`));
    return true;
  });
  await assertTouched(loop, false);
});

test('an image with more after its end than the disk has room for leaves no table', async () => {
  const longer = join(directory, 'longer');
  await execa('cp', ['--sparse=always', image, longer]);
  await execa('truncate', ['--size', '+8M', longer]);
  await using loop = await makeDirtyDisk(imageBytes + 2 * mebibyte);
  await using disk = await openDisk(loop.path);
  await assert.rejects(
    writeImage(new ImageExtents(longer), disk),
    /the image has at least .* and the disk only .* table/,
  );
  await assertNoTable(loop);
});

test('a truncated image is not taken for a whole one', async () => {
  await using loop = await makeDirtyDisk(imageBytes);
  await using disk = await openDisk(loop.path);
  const endAtBytes = imageBytes - 4096;
  const writing = writeImage(new ImageExtents(image, { endAtBytes }), disk);
  await assert.rejects(
    writing,
    new RegExp(`it ends after ${endAtBytes} bytes, but its partition table describes ${imageBytes}`),
  );
  await assertNoTable(loop);
});

test('writeImage() refuses what is not a disk image before touching the disk', async () => {
  await using loop = await makeDirtyDisk(imageBytes);
  await using disk = await openDisk(loop.path);
  const withTable = (...partitions: Partition[]) => {
    const table = { sectorSizeBytes: 512, diskGuid: '00000000-0000-0000-0000-000000000001', partitions };
    return Buffer.concat([encodeTable(table, 2 * mebibyte).primary, Buffer.alloc(2 * mebibyte)], 2 * mebibyte);
  };
  const [usr] = parseTable(await readFile(image), image)?.partitions ?? [];
  assert.ok(usr);
  const beyond = { ...usr, firstLba: 2048, lastLba: 4095 };
  const cases: { name: string; bytes: Buffer; why: RegExp }[] = [
    { name: 'no partition', bytes: withTable(), why: /its partition table is empty/ },
    { name: 'beyond', bytes: withTable(beyond), why: /its partition \d+ ends beyond the end of the image/ },
    { name: 'empty', bytes: Buffer.alloc(0), why: /it ends after 0 bytes/ },
    { name: 'short', bytes: Buffer.from('<html>not found</html>'), why: /it ends after 22 bytes/ },
    { name: 'text', bytes: Buffer.alloc(2 * mebibyte, 'x'), why: /does not start with a partition table \(GPT\)/ },
    { name: 'zeroes', bytes: Buffer.alloc(2 * mebibyte), why: /does not start with a partition table \(GPT\)/ },
  ];
  for (const { name, bytes, why } of cases) {
    await writeFile(join(directory, name), bytes);
    await assert.rejects(writeImage(new ImageExtents(join(directory, name)), disk), why);
  }
  const damaged = (await readFile(image)).subarray(0, 2 * mebibyte);
  damaged.writeUInt8(0xff, 1024 + 60);
  await writeFile(join(directory, 'damaged'), damaged);
  await assert.rejects(
    writeImage(new ImageExtents(join(directory, 'damaged')), disk),
    /checksum of its entries is wrong/,
  );
  await assertTouched(loop, false);
});

test('a disk that fails while it is written is left without a table, with its error in the message', async () => {
  // The file behind the disk cannot grow beyond its file system, which the kernel reports as an I/O
  // error of the disk.
  const small = join(directory, 'small');
  await mkdir(small);
  await execa('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', small]);
  try {
    await using loop = await createLoopDevice({ sizeBytes: imageBytes + 20 * mebibyte, directory: small });
    await using disk = await openDisk(loop.path);
    const extents = new ImageExtents(image);
    await assert.rejects(writeImage(extents, disk), (error: unknown) => {
      assert.ok(error instanceof IncompleteWriteError);
      assert.equal(error.tableRemoved, true);
      assert.match(error.message, /(i\/o error|no space left)/i);
      return true;
    });
    assert.equal(extents.outstanding, 0);
    await assertNoTable(loop);
  } finally {
    await execa('umount', [small]);
  }
});
