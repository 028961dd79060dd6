import assert from 'node:assert/strict';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { eraseRanges } from '../../../installer/disk/erase.ts';
import { findMembers } from '../../../installer/disk/members.ts';
import { makeFlatcarImage } from '../../sandbox/flatcar-layout.ts';
import { createLoopDevice, type LoopDevice } from '../../sandbox/loop-device.ts';
import { runInstaller } from '../run.ts';

const mebibyte = 1024 * 1024;
const gibibyte = 1024 * mebibyte;
const at = (signature: string, offsetBytes: number, sizeBytes: number) => ({ signature, offsetBytes, sizeBytes });

test('eraseRanges() covers both ends of what a member is on, once, and the copies of its signature', () => {
  assert.deepEqual(eraseRanges([at('LVM2_member', gibibyte, gibibyte)], []), [
    { start: gibibyte, end: gibibyte + 8 * mebibyte },
    { start: 2 * gibibyte - 2 * mebibyte, end: 2 * gibibyte },
  ]);
  const twice = [at('LVM2_member', gibibyte, 9 * mebibyte), at('linux_raid_member', gibibyte, 9 * mebibyte)];
  assert.deepEqual(eraseRanges(twice, []), [{ start: gibibyte, end: gibibyte + 9 * mebibyte }]);
  const copies = eraseRanges([at('ceph_bluestore', mebibyte, 20 * gibibyte)], []);
  assert.deepEqual(
    copies.map(({ start }) => start - mebibyte),
    [0, gibibyte, 10 * gibibyte, 20 * gibibyte - 2 * mebibyte],
  );
});

test('eraseRanges() leaves out what is kept, wherever it lies', () => {
  const member = at('LVM2_member', 0, 100 * mebibyte);
  const kept = [
    { start: 0, end: mebibyte },
    { start: 4 * mebibyte, end: 6 * mebibyte },
    { start: 99 * mebibyte, end: 200 * mebibyte },
  ];
  assert.deepEqual(eraseRanges([member], kept), [
    { start: mebibyte, end: 4 * mebibyte },
    { start: 6 * mebibyte, end: 8 * mebibyte },
    { start: 98 * mebibyte, end: 99 * mebibyte },
  ]);
});

let directory: string;
let image: string;
let imageBytes: number;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-erase-'));
  image = join(directory, 'image');
  imageBytes = await makeFlatcarImage({ path: image });
});
after(() => rm(directory, { recursive: true }));

/** Partitions behind the image, by their numbers. */
const partBytes = 32 * mebibyte;
const parts = ['lvm', 'luks', 'bcache', 'raid-end', 'raid-old', 'ceph', 'files'] as const;
type PartName = (typeof parts)[number];
const offsetOf = (name: PartName) => imageBytes + parts.indexOf(name) * partBytes;

/** A disk with partitions behind the image, most of them members; the kernel does not know them. */
async function makeUsedDisk(): Promise<LoopDevice> {
  const loop = await createLoopDevice({ sizeBytes: imageBytes + (parts.length + 1) * partBytes });
  const lines = parts.map((name) => `start=${offsetOf(name) / 512}, size=${partBytes / 512}, name=${name}`);
  const input = ['label: gpt', 'unit: sectors', ...lines].join('\n');
  await execa('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', loop.path], { input });
  const config = 'devices { scan_lvs=0 use_devicesfile=0 } activation { udev_sync=0 }';
  await onPartition(loop, 'lvm', (path) => [
    ...['env', 'DM_DISABLE_UDEV=1', 'pvcreate', '--yes', '--driverloaded', 'n', '--config', config, path],
  ]);
  await onPartition(loop, 'luks', (path) => [
    ...['cryptsetup', 'luksFormat', '--batch-mode', '--type', 'luks2', '--pbkdf', 'pbkdf2'],
    ...['--pbkdf-force-iterations', '1000', '--key-file', '/etc/hostname', path],
  ]);
  await onPartition(loop, 'bcache', (path) => ['make-bcache', '-B', path]);
  await onPartition(loop, 'files', (path) => ['mke2fs', '-q', '-F', '-t', 'ext4', path]);
  // The superblocks of md by hand, because mdadm needs its driver: make test-disks has real ones.
  await using device = await open(loop.path, 'r+');
  await device.write(raidBlock(partBytes - 8192), 0, 512, offsetOf('raid-end') + partBytes - 8192);
  await device.write(Buffer.from('fc4e2ba9000000005a000000', 'hex'), 0, 12, offsetOf('raid-old') + partBytes - 65536);
  await device.write(Buffer.from('bluestore block device\n'), 0, 23, offsetOf('ceph'));
  await device.sync();
  return loop;
}

/** A superblock of md, version 1.0, which names its own place. Source: linux/raid/md_p.h. */
function raidBlock(place: number): Buffer {
  const block = Buffer.alloc(512);
  block.writeUInt32LE(0xa92b4efc, 0);
  block.writeUInt32LE(1, 4);
  block.writeBigUInt64LE(BigInt(place / 512), 144);
  let sum = 0n;
  for (let offset = 0; offset < 256; offset += 4) sum += BigInt(block.readUInt32LE(offset));
  block.writeUInt32LE(Number((sum & 0xffffffffn) + (sum >> 32n)), 216);
  return block;
}

async function onPartition(loop: LoopDevice, name: PartName, command: (path: string) => readonly string[]) {
  const range = ['--offset', String(offsetOf(name)), '--sizelimit', String(partBytes)];
  const { stdout: path } = await execa('losetup', ['--find', '--show', ...range, loop.backingPath]);
  try {
    const [program = '', ...args] = command(path);
    return (await execa(program, args, { reject: program !== 'blkid' })).stdout;
  } finally {
    await execa('sync', ['-f', loop.backingPath]);
    await execa('losetup', ['--detach', path]);
  }
}

/** What wipefs finds at the place of each partition, and after a slash what findMembers() does. */
async function signaturesOn(loop: LoopDevice): Promise<Record<string, string>> {
  await execa('blockdev', ['--flushbufs', loop.path]);
  const regions = parts.map((device) => ({ device, offsetBytes: offsetOf(device), sizeBytes: partBytes }));
  const members = await findMembers({ path: loop.path, sizeBytes: loop.sizeBytes, sectorSizeBytes: 512 }, regions);
  const found: Record<string, string> = {};
  for (const device of parts) {
    const wipefs = await onPartition(loop, device, (path) => ['wipefs', '--noheadings', '--output', 'TYPE', path]);
    const ours = members.filter((member) => member.device === device).map(({ signature }) => signature);
    const text = [...new Set(wipefs.split('\n'))].join();
    if (text !== '' || ours.length > 0) found[device] = `${text}/${ours.join()}`;
  }
  return found;
}

const all = {
  lvm: 'LVM2_member/LVM2_member',
  luks: 'crypto_LUKS/crypto_LUKS',
  bcache: 'bcache/bcache',
  'raid-end': 'linux_raid_member/linux_raid_member',
  'raid-old': 'linux_raid_member/linux_raid_member',
  ceph: 'ceph_bluestore/ceph_bluestore',
  files: 'ext4/',
};

test('flatcar-install --wipe-members=foreign leaves no member on the disk, also beyond the image', async () => {
  await using loop = await makeUsedDisk();
  assert.deepEqual(await signaturesOn(loop), all);
  const ran = await runInstaller(directory, ['-d', loop.path, '-f', image, '--wipe-members=foreign']);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(ran.stderr, /p1 has a signature of LVM \(LVM2_member\), and is erased$/m);
  assert.deepEqual(await signaturesOn(loop), { files: 'ext4/' });
});

test('flatcar-install -d erases beyond the image what --wipe-members allows, and nothing without it', async () => {
  await using loop = await makeUsedDisk();
  const plain = await runInstaller(directory, ['-y', '-d', loop.path, '-f', image]);
  assert.match(
    plain.stderr,
    /p1 has .* \(LVM2_member\), and is overwritten as far as the image reaches \(--wipe-members erases it\)$/m,
  );
  assert.match(plain.stderr, /p6 has .* \(--wipe-members=foreign erases it\)$/m);
  const ran = await runInstaller(directory, ['-d', loop.path, '-f', image, '--wipe-members']);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.deepEqual(await signaturesOn(loop), { ceph: all.ceph, files: all.files });
  await using untouched = await makeUsedDisk();
  assert.equal((await runInstaller(directory, ['-d', untouched.path, '-f', image])).exitCode, 0);
  assert.deepEqual(await signaturesOn(untouched), all);
});

test('flatcar-install --wipe-members keeps the members on saved partitions, and warns of the others only', async () => {
  await using loop = await makeUsedDisk();
  const saving = ['--save-partlabel', 'lvm,raid-end', '--wipe-members'];
  const ran = await runInstaller(directory, ['-d', loop.path, '-f', image, ...saving]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.doesNotMatch(ran.stderr, /LVM2_member/);
  const { luks, bcache, 'raid-old': old, ...kept } = all;
  assert.deepEqual(await signaturesOn(loop), kept);
  assert.match((await execa('sgdisk', ['--verify', loop.path])).stdout, /No problems found/);
});

test('flatcar-install --wipe-members has erased the members when the image turns out to be damaged', async () => {
  await using loop = await makeUsedDisk();
  const cut = join(directory, 'cut');
  await execa('dd', [`if=${image}`, `of=${cut}`, 'bs=1M', 'count=60', 'status=none']);
  const ran = await runInstaller(directory, ['-d', loop.path, '-f', cut, '--wipe-members=foreign']);
  assert.equal(ran.exitCode, 1);
  assert.match(ran.stderr, /; the disk was left without a partition table and will not boot/);
  // The next installation has no table to find them by.
  assert.deepEqual(await signaturesOn(loop), { files: all.files });
});

test('flatcar-install --wipe-members changes nothing before the image is known to fit', async () => {
  await using loop = await makeUsedDisk();
  const noise = join(directory, 'noise');
  await execa('dd', ['if=/dev/urandom', `of=${noise}`, 'bs=1M', 'count=4', 'status=none']);
  const ran = await runInstaller(directory, ['-d', loop.path, '-f', noise, '--wipe-members=foreign']);
  assert.equal(ran.exitCode, 1);
  assert.deepEqual(await signaturesOn(loop), all);
});
