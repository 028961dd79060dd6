import assert from 'node:assert/strict';
import { constants, mkdir, mkdtemp, open, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { checkDisk, openDisk } from '../../../installer/disk/device.ts';
import { DiskError } from '../../../installer/disk/errors.ts';
import { readSignature } from '../../../installer/disk/identity.ts';
import { knownPartitions } from '../../../installer/disk/rescan.ts';
import { makeFlatcarImage } from '../../sandbox/flatcar-layout.ts';
import { createLoopDevice } from '../../sandbox/loop-device.ts';
import { mountDevice, mountScratch } from '../../sandbox/scratch-mount.ts';

const mebibyte = 1024 * 1024;

/** Refused, with a sentence that names the device, says why, and was not followed by a change. */
async function assertRefused(path: string, why: RegExp, imageSizeBytes?: number): Promise<void> {
  const isRefusal = (error: unknown) => {
    assert.ok(error instanceof DiskError, String(error));
    assert.ok(error.message.startsWith(`cannot install to ${path}: `), error.message);
    assert.match(error.message, why);
    return true;
  };
  await assert.rejects(openDisk(path, { imageSizeBytes }), isRefusal);
  await assert.rejects(checkDisk(path, { imageSizeBytes }), isRefusal);
}

async function makePartitions(path: string): Promise<void> {
  await writeTable(path, '1: start=2048, size=16384', '5: start=18432, size=16384');
  await execa('partx', ['--add', path]);
}

/** Without telling the kernel, as on a disk that has just been attached. */
async function writeTable(path: string, ...partitions: string[]): Promise<void> {
  const input = ['label: gpt', ...partitions].join('\n');
  await execa('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', path], { input });
}

test('openDisk() claims the disk: no other process can open it exclusively or mount it', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  await execa('mke2fs', ['-q', '-t', 'ext4', loop.path]);
  await using disk = await openDisk(loop.path);
  assert.equal(disk.path, loop.path);
  assert.equal(disk.sizeBytes, 16 * mebibyte);
  await assert.rejects(open(loop.path, constants.O_RDWR | constants.O_EXCL), { code: 'EBUSY' });
  await assert.rejects(mountDevice(loop.path), /already mounted|busy|Can't open blockdev/);
});

test('openDisk() gives the disk back when disposed of, and changes nothing by itself', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  await execa('mke2fs', ['-q', '-t', 'ext4', loop.path]);
  {
    await using disk = await openDisk(loop.path);
    assert.equal((await disk.read(1080, 2)).length, 2);
  }
  await using mounted = await mountDevice(loop.path);
  assert.ok(mounted.directory);
});

test('openDisk() follows links to the device', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  const directory = await mkdtemp(join(tmpdir(), 'nibs-link-'));
  const link = join(directory, 'by-path');
  await symlink(loop.path, link);
  await using disk = await openDisk(link);
  assert.equal(disk.path, loop.path);
  await rm(directory, { recursive: true });
});

test('openDisk() refuses what is not a whole disk', async () => {
  await assertRefused('/dev/nibs-no-such-disk', /there is no such device.*--list-disks/);
  await assertRefused('/dev/null', /it is not a block device/);
  await using loop = await createLoopDevice({ sizeBytes: 32 * mebibyte });
  await makePartitions(loop.path);
  await assertRefused(`${loop.path}p1`, /it is a partition, not a full disk/);
});

test('openDisk() refuses a read-only disk', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte, readOnly: true });
  await assertRefused(loop.path, /it is read-only/);
});

test('openDisk() refuses a mounted disk and a mounted partition, and names the mount point', async () => {
  await using whole = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  await using first = await mountScratch(whole.path);
  await assertRefused(whole.path, new RegExp(`it is mounted at ${first.directory} \\(unmount it, or .* -d\\)`));

  await using parted = await createLoopDevice({ sizeBytes: 32 * mebibyte });
  await makePartitions(parted.path);
  await using second = await mountScratch(`${parted.path}p5`);
  await assertRefused(parted.path, new RegExp(`${parted.path}p5 is mounted at ${second.directory}`));
});

test('openDisk() refuses a disk that is swapped to', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  await execa('mkswap', [loop.path]);
  await execa('swapon', [loop.path]);
  try {
    await assertRefused(loop.path, /it is used as swap \(run swapoff/);
  } finally {
    await execa('swapoff', [loop.path]);
  }
});

test('openDisk() refuses a disk that another device is made of, though the kernel would allow it', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  const upper = (await execa('losetup', ['--find', '--show', '--offset', '1048576', loop.path])).stdout;
  try {
    await assertRefused(loop.path, new RegExp(`it is held by ${upper} \\(loop\\)`));
  } finally {
    await execa('losetup', ['--detach', upper]);
  }
});

test('openDisk() refuses a disk that another program holds exclusively', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  await using holder = await open(loop.path, constants.O_RDWR | constants.O_EXCL);
  await assert.rejects(openDisk(loop.path), /in use by something outside this container or mount namespace/);
  assert.ok(holder.fd > 0);
});

test('openDisk() waits for a claim that is about to end', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  const holder = await open(loop.path, constants.O_RDWR | constants.O_EXCL);
  const opening = openDisk(loop.path);
  setTimeout(() => void holder.close(), 150);
  await using disk = await opening;
  assert.equal(disk.path, loop.path);
});

test('openDisk() refuses a disk with sectors of 4096 bytes', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte, sectorSizeBytes: 4096 });
  await assertRefused(loop.path, /its sectors have 4096 bytes, but the image needs sectors of 512/);
});

test('openDisk() refuses a disk smaller than the image', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  await assertRefused(loop.path, /the image has 16777728 bytes and the disk only 16777216/, 16 * mebibyte + 512);
  await using disk = await openDisk(loop.path, { imageSizeBytes: 16 * mebibyte });
  assert.equal(disk.sizeBytes, 16 * mebibyte);
});

test('openDisk() stops waiting when the signal is aborted', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  await using holder = await open(loop.path, constants.O_RDWR | constants.O_EXCL);
  const started = performance.now();
  await assert.rejects(openDisk(loop.path, { signal: AbortSignal.timeout(200) }), { name: /AbortError|TimeoutError/ });
  assert.ok(performance.now() - started < 800);
  assert.ok(holder.fd > 0);
});

test('write() and read() reach every byte, whatever the alignment of offset, length and memory', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  await using disk = await openDisk(loop.path);
  const wasm = new Uint8Array(new WebAssembly.Memory({ initial: 16 }).buffer).fill(1);
  const cases = [
    { bytes: wasm, offset: mebibyte },
    { bytes: Buffer.alloc(8192, 2), offset: 3 * mebibyte },
    { bytes: Buffer.alloc(8193, 3).subarray(1), offset: 4 * mebibyte },
    { bytes: Buffer.alloc(777, 4), offset: 5 * mebibyte + 13 },
    { bytes: Buffer.alloc(513, 5), offset: 16 * mebibyte - 513 },
  ];
  for (const { bytes, offset } of cases) await disk.write(bytes, offset);
  await disk.sync();
  await using backing = await open(loop.backingPath, 'r');
  for (const { bytes, offset } of cases) {
    assert.deepEqual(Buffer.from(await disk.read(offset, bytes.length)), Buffer.from(bytes));
    const { buffer } = await backing.read(Buffer.alloc(bytes.length), 0, bytes.length, offset);
    assert.deepEqual(buffer, Buffer.from(bytes));
  }
  assert.equal((await disk.read(16 * mebibyte - 10, 100)).length, 10);
});

test('write() past the end says where and to what', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  await using disk = await openDisk(loop.path);
  const expected = new RegExp(`cannot write to ${loop.path}: .*at byte 16777216 of 16777216`);
  await assert.rejects(disk.write(Buffer.alloc(4096), 16 * mebibyte), expected);
});

for (const offload of [true, false]) {
  test(`zero() makes a dirty range read back as zeroes and nothing else, offload ${offload ? 'on' : 'off'}`, async () => {
    await using loop = await createLoopDevice({ sizeBytes: 32 * mebibyte });
    await using disk = await openDisk(loop.path);
    if (!offload) disk.disableZeroOffload();
    for (let i = 0; i < 32; i++) await disk.write(Buffer.alloc(mebibyte, 0xee), i * mebibyte);
    await disk.sync();
    assert.equal(await disk.zero(2 * mebibyte, 8 * mebibyte), offload ? 8 * mebibyte : 0);
    assert.equal(await disk.zero(16 * mebibyte, 64 * 1024), 0);
    assert.equal(await disk.zero(20 * mebibyte + 100, 6 * mebibyte), offload ? 6 * mebibyte - 4096 : 0);
    await disk.sync();
    const expected = Buffer.alloc(32 * mebibyte, 0xee);
    expected.fill(0, 2 * mebibyte, 10 * mebibyte);
    expected.fill(0, 16 * mebibyte, 16 * mebibyte + 64 * 1024);
    expected.fill(0, 20 * mebibyte + 100, 26 * mebibyte + 100);
    assert.ok(Buffer.from(await disk.read(0, 32 * mebibyte)).equals(expected));
  });
}

test('invalidate() removes partition tables and signatures at both ends', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  // A GPT at both ends; ZFS, LVM, LUKS, md and Intel RAID by the magic that libblkid looks for.
  await writeTable(loop.path, '1: start=2048, size=16384');
  await using disk = await openDisk(loop.path);
  await disk.write(Buffer.from('LUKS\xba\xbe\x00\x02', 'latin1'), 0);
  await disk.write(Buffer.from('LABELONE', 'latin1'), 512);
  await disk.write(Buffer.from('fc4e2ba9', 'hex'), 4096);
  await disk.write(Buffer.from('Intel Raid ISM Cfg Sig. 1.2.02', 'latin1'), 64 * mebibyte - 1024);
  await disk.write(Buffer.from('_BHRfS_M', 'latin1'), 65600);
  for (const label of [0, 256])
    await disk.write(Buffer.from('0cb1ba0000000000', 'hex'), 64 * mebibyte - label * 1024 - 4096);
  await disk.sync();
  assert.notEqual((await execa('wipefs', [loop.path])).stdout, '');
  await disk.invalidate();
  assert.equal((await execa('wipefs', [loop.path])).stdout, '');
  assert.equal(await readSignature(loop.path), undefined);
  assert.ok((await disk.read(0, mebibyte)).every((byte) => byte === 0));
  assert.ok((await disk.read(63 * mebibyte, mebibyte)).every((byte) => byte === 0));
  await assert.rejects(disk.readTable(), /it has no GPT/);
});

test('a disk whose table was removed leaves no partitions in the kernel', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 32 * mebibyte });
  await makePartitions(loop.path);
  {
    await using disk = await openDisk(loop.path);
    await disk.invalidate();
  }
  assert.doesNotMatch((await execa('lsblk', ['-ln', '-o', 'NAME', loop.path])).stdout, /loop\d+p/);
});

test('rescanPartitions() makes every partition known, those after a gap in the numbers too, and removes old ones', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 300 * mebibyte });
  await writeTable(loop.path, '3: start=2048, size=16384', '8: start=18432, size=16384');
  await execa('partx', ['--add', loop.path]);
  const directory = await mkdtemp(join(tmpdir(), 'nibs-reread-'));
  const image = join(directory, 'image');
  await makeFlatcarImage({ path: image });
  await using disk = await openDisk(loop.path);
  await execa('dd', [`if=${image}`, `of=${loop.path}`, 'bs=1M', 'conv=notrunc', 'status=none']);
  assert.notEqual((await disk.rescanPartitions()).how, 'failed');
  const known = (await execa('lsblk', ['-ln', '-o', 'NAME,TYPE', loop.path])).stdout.match(/(?<=p)\d+(?= +part)/g);
  assert.deepEqual(known, ['1', '2', '3', '4', '6', '7', '9']);
  await rm(directory, { recursive: true });
});

test('knownPartitions() tells the partitions of an eMMC from its boot areas', async () => {
  const sysfs = await mkdtemp(join(tmpdir(), 'nibs-sysfs-'));
  try {
    const below = {
      mmcblk0p1: { partition: '1\n', start: '2048\n', size: '4096\n' },
      mmcblk0p12: { partition: '12\n', start: '8192\n', size: '8\n' },
      mmcblk0boot0: { size: '8192\n' },
      queue: { logical_block_size: '512\n' },
    };
    for (const [name, files] of Object.entries(below)) {
      await mkdir(join(sysfs, 'mmcblk0', name), { recursive: true });
      for (const [file, text] of Object.entries(files)) await writeFile(join(sysfs, 'mmcblk0', name, file), text);
    }
    await writeFile(join(sysfs, 'mmcblk0/size'), '30535680\n');
    const known = await knownPartitions('/dev/mmcblk0', sysfs);
    assert.deepEqual(known.toSorted(), [`1 ${2048 * 512} ${4096 * 512}`, `12 ${8192 * 512} ${8 * 512}`]);
    assert.deepEqual(await knownPartitions('/dev/no-such-disk', sysfs), []);
  } finally {
    await rm(sysfs, { recursive: true });
  }
});

test('rescanPartitions() reports a kernel that holds on to other partitions instead of failing', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 32 * mebibyte });
  await writeTable(loop.path, '7: start=2048, size=1000');
  await execa('partx', ['--add', '--nr', '7', loop.path]);
  await writeTable(loop.path, '1: start=2048, size=16384');
  await using disk = await openDisk(loop.path);
  await using seven = await open(`${loop.path}p7`, 'r');
  const rescan = await disk.rescanPartitions();
  assert.equal(rescan.how, 'failed');
  assert.ok(seven.fd > 0);
});
