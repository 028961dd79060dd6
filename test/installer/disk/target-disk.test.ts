import assert from 'node:assert/strict';
import { open, truncate } from 'node:fs/promises';
import { test } from 'node:test';
import { execa } from 'execa';
import { systemClock } from '../../../clock/system.ts';
import { openDisk } from '../../../installer/disk/device.ts';
import { IncompleteWriteError } from '../../../installer/disk/errors.ts';
import type { PartitionTable } from '../../../installer/disk/gpt.ts';
import { describeImageFile } from '../../../installer/disk/image-file.ts';
import { windowBytes } from '../../../installer/disk/read-back.ts';
import { TargetDisk } from '../../../installer/disk/target-disk.ts';
import { createLoopDevice } from '../../sandbox/loop-device.ts';

const sizeBytes = 16 * 1024 * 1024;
const table: PartitionTable = { sectorSizeBytes: 512, diskGuid: '', alternateLba: 1, partitions: [] };
const failure = new Error('the cable was pulled');

test('a disk goes from claimed to invalidated, written, committed and released, and leaves out none of these', async () => {
  await using loop = await createLoopDevice({ sizeBytes });
  await using disk = await openDisk(loop.path);
  assert.throws(() => disk.setWritten(table), /its state is claimed, not invalidated/);
  await disk.invalidate();
  assert.throws(() => disk.save(undefined), /its state is invalidated, not claimed/);
  await assert.rejects(
    disk.commit(async () => assert.fail()),
    /its state is invalidated, not written/,
  );
  assert.equal(disk.setWritten(table), table);
  assert.equal(await disk.readTable(), table);
  await disk.commit(async () => {});
  await assert.rejects(
    disk.commit(async () => assert.fail()),
    /its state is committed, not written/,
  );
  await disk[Symbol.asyncDispose]();
  await assert.rejects(disk.sync(), /it has been released/);
  assert.equal(await disk.readTable(), table, 'the table of the image is still known, for the boot entry');
});

test('a disk that was not changed is abandoned without a word about its table', async () => {
  await using loop = await createLoopDevice({ sizeBytes });
  await using disk = await openDisk(loop.path);
  assert.equal(await disk.abandon(failure, undefined), failure);
});

for (const state of ['invalidated', 'written', 'committing'] as const) {
  test(`a disk that is ${state} is abandoned without a partition table, and the error says so`, async () => {
    await using loop = await createLoopDevice({ sizeBytes });
    await using disk = await openDisk(loop.path);
    await disk.invalidate();
    if (state !== 'invalidated') disk.setWritten(table);
    if (state === 'committing') {
      const write = async () => {
        await disk.write(Buffer.alloc(4096, 0xee), 0);
        throw failure;
      };
      await assert.rejects(disk.commit(write), failure);
    }
    const error = await disk.abandon(failure, undefined);
    assert.ok(error instanceof IncompleteWriteError && error.tableRemoved);
    assert.match(error.message, /: the cable was pulled; the disk was left without a partition table/);
    assert.ok((await disk.read(0, 4096)).every((byte) => byte === 0));
    assert.equal(await disk.abandon(error, undefined), error);
    const interrupted = await disk.abandon(failure, AbortSignal.abort());
    assert.match(String(interrupted), /: it was interrupted; /);
  });
}

test('a disk whose table cannot be removed is not called one without a table', async () => {
  // Every write to it fails.
  const path = '/dev/full';
  const full = { ...(await describeImageFile('/nibs-none', sizeBytes)), path, type: 'disk' };
  await using disk = new TargetDisk(full, await open(path, 'r+'), systemClock);
  await assert.rejects(disk.invalidate(), /cannot write to \/dev\/full: .*no space left.* \(at byte 0 of 16777216\)/i);
  const error = await disk.abandon(failure, undefined);
  assert.ok(error instanceof IncompleteWriteError && !error.tableRemoved);
  assert.match(error.message, /; the partition table could not be removed either; do not boot from this disk/);
});

test('as much as a window is read back at once, and no more', async () => {
  await using loop = await createLoopDevice({ sizeBytes });
  await using disk = await openDisk(loop.path);
  assert.equal((await disk.readBack(0, windowBytes)).length, windowBytes);
  await assert.rejects(disk.readBack(0, windowBytes + 4096), RangeError);
  await disk.write(Buffer.alloc(512, 0x77), 512);
  await disk.sync();
  assert.ok(Buffer.alloc(512, 0x77).equals(await disk.readBack(512, 512)), 'less than a page: through the cache');
});

test('a disk that became smaller is not read back as what was read before', async () => {
  await using loop = await createLoopDevice({ sizeBytes });
  await using disk = await openDisk(loop.path);
  const half = sizeBytes / 2;
  await truncate(loop.backingPath, half);
  await execa('losetup', ['--set-capacity', loop.path]);
  await disk.readBack(0, windowBytes);
  // Past the kernel's cache, and through it.
  for (const length of [windowBytes, 512])
    await assert.rejects(disk.readBack(half, length), new RegExp(`it now ends at byte ${half} of ${sizeBytes}`));
});
