import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { deviceNumber, readBlockDevices, readProperties } from '../../../installer/disk/block-devices.ts';
import { checkDisk, openDisk } from '../../../installer/disk/device.ts';
import { usesOfOtherPaths } from '../../../installer/disk/select.ts';
import { findUses, readUsage } from '../../../installer/disk/uses.ts';
import { createLoopDevice } from '../../sandbox/loop-device.ts';
import { mountScratch } from '../../sandbox/scratch-mount.ts';
import { runInstaller } from '../run.ts';

const mebibyte = 1024 * 1024;

async function makePartitions(path: string): Promise<void> {
  const input = ['label: gpt', '1: start=2048, size=16384', '5: start=18432, size=32768'].join('\n');
  await execa('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', path], { input });
  await execa('partx', ['--add', path]);
}

async function attach(device: string): Promise<AsyncDisposable & { readonly path: string }> {
  const path = (await execa('losetup', ['--find', '--show', device])).stdout;
  return {
    path,
    async [Symbol.asyncDispose]() {
      await execa('losetup', ['--detach', path]);
    },
  };
}

test('flatcar-install refuses a disk one of whose partitions is mounted through a loop device', async () => {
  await using disk = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  await makePartitions(disk.path);
  await using upper = await attach(`${disk.path}p5`);
  await using mounted = await mountScratch(upper.path);
  const table = async () => (await execa('sfdisk', ['--dump', disk.path])).stdout;
  const before = await table();
  const ran = await runInstaller(tmpdir(), ['-d', disk.path, '-f', disk.backingPath]);
  assert.equal(ran.exitCode, 1);
  assert.match(
    ran.stderr,
    new RegExp(`^Error: cannot install to ${disk.path}: ${disk.path}p5 is held by ${upper.path} \\(loop\\) `, 'm'),
  );
  assert.equal(await table(), before);
  const uses = findUses(await readUsage(), (await deviceNumber(disk.path)) ?? '');
  assert.deepEqual(uses.at(-1), { kind: 'mounted', device: upper.path, by: mounted.directory });
});

test('a loop device that is attached by another name of the partition is found too', async () => {
  await using disk = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  await makePartitions(disk.path);
  const directory = await mkdtemp(join(tmpdir(), 'nibs-node-'));
  const [major = '', minor = ''] = ((await deviceNumber(`${disk.path}p1`)) ?? '').split(':');
  await mkdir(join(directory, 'dev'));
  await execa('mknod', [join(directory, 'dev/partition'), 'b', major, minor]);
  {
    await using upper = await attach(join(directory, 'dev/partition'));
    await assert.rejects(checkDisk(disk.path), new RegExp(`p1 is held by ${upper.path} \\(loop\\)`));
  }
  await rm(directory, { recursive: true });
  await using opened = await openDisk(disk.path);
  assert.equal(opened.path, disk.path, 'detached, so it may be installed to');
});

test('a disk that is mounted in another mount namespace only is refused, with the process that sees it', async () => {
  await using disk = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  await makePartitions(disk.path);
  await execa('mke2fs', ['-q', '-t', 'ext4', `${disk.path}p5`]);
  const directory = await mkdtemp(join(tmpdir(), 'nibs-hidden-'));
  const script = `mount ${disk.path}p5 ${directory} && echo mounted && cat`;
  const other = execa('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script], { stdin: 'pipe' });
  await once(other.stdout, 'data');
  try {
    await assert.rejects(
      checkDisk(disk.path),
      new RegExp(`p5 is mounted at ${directory} in the mount namespace of process \\d+ `),
    );
  } finally {
    other.stdin.end();
    await other;
    await rm(directory, { recursive: true });
  }
});

/** A directory like sysfs and procfs, by the paths of files below it. */
async function fakeKernel(files: Readonly<Record<string, string>>, links: Readonly<Record<string, string>>) {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-sysfs-'));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), text);
  }
  for (const [path, target] of Object.entries(links)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await symlink(target, join(directory, path));
  }
  return {
    roots: { sysfs: join(directory, 'sys'), proc: join(directory, 'proc') },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}

const sda = 'sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda';
const machine = {
  [`${sda}/dev`]: '8:0\n',
  [`${sda}/size`]: '41943040\n',
  [`${sda}/removable`]: '0\n',
  [`${sda}/queue/rotational`]: '1\n',
  [`${sda}/queue/logical_block_size`]: '512\n',
  [`${sda}/device/model`]: 'BAD\u0001MODEL       \n',
  [`${sda}/device/wwid`]: 'naa.5002538f\n',
  [`${sda}/sda1/dev`]: '8:1\n',
  [`${sda}/sda1/partition`]: '1\n',
  [`${sda}/sda2/dev`]: '8:2\n',
  [`${sda}/sda2/partition`]: '2\n',
  [`${sda}/sda2/holders/dm-0/x`]: '',
  [`${sda}/sda3/dev`]: '8:3\n',
  [`${sda}/sda3/partition`]: '3\n',
  [`${sda}/sda3/holders/md127/x`]: '',
  [`${sda}/sda4/dev`]: '8:4\n',
  [`${sda}/sda4/partition`]: '4\n',
  [`${sda}/sda4/bcache/x`]: '',
  [`${sda}/sda5/dev`]: '8:5\n',
  [`${sda}/sda5/partition`]: '5\n',
  'sys/devices/virtual/block/dm-0/dev': '253:0\n',
  'sys/devices/virtual/block/dm-0/dm/name': 'vg-root\n',
  'sys/devices/virtual/block/dm-0/dm/uuid': 'LVM-abc\n',
  'sys/devices/virtual/block/dm-0/slaves/sda2/x': '',
  'sys/devices/virtual/block/dm-0/holders/dm-1/x': '',
  'sys/devices/virtual/block/dm-1/dev': '253:1\n',
  'sys/devices/virtual/block/dm-1/dm/name': 'secret\n',
  'sys/devices/virtual/block/dm-1/dm/uuid': 'CRYPT-LUKS2-abc\n',
  'sys/devices/virtual/block/md127/dev': '9:127\n',
  'sys/devices/virtual/block/md127/md/level': 'raid1\n',
  'sys/fs/btrfs/6f5e/devices/sda5/x': '',
  'proc/swaps': 'Filename Type Size Used Priority\n/dev/dm-1 partition 1 0 -2\n/data/swap\\040file file 1 0 -3\n',
  'proc/self/mountinfo': '30 1 9:127 / /srv/a\\040b rw - ext4 /dev/md127 rw\n31 1 0:40 / /proc rw - proc proc rw\n',
};
const inClass = Object.fromEntries(
  [
    ['sda', sda],
    ...['sda1', 'sda2', 'sda3', 'sda4', 'sda5'].map((name) => [name, `${sda}/${name}`]),
    ...['dm-0', 'dm-1', 'md127'].map((name) => [name, `sys/devices/virtual/block/${name}`]),
  ].map(([name, target]) => [`sys/class/block/${name}`, `../../../${target}`]),
);
const namespaces = { 'proc/self/ns/mnt': 'mnt:[1]', 'proc/1/ns/mnt': 'mnt:[1]', 'proc/77/ns/mnt': 'mnt:[2]' };

test('findUses() finds LVM, RAID, dm-crypt, bcache, btrfs, swap and mounts, through any number of layers', async () => {
  const others = '40 1 0:50 / /pool rw - btrfs /dev/sda5 rw\n41 1 8:1 / /boot rw - vfat /dev/sda1 rw\n';
  await using kernel = await fakeKernel({ ...machine, 'proc/77/mountinfo': others }, { ...inClass, ...namespaces });
  const uses = findUses(await readUsage(kernel.roots), '8:0').map(({ kind, device, by }) => `${device} ${kind} ${by}`);
  assert.deepEqual(uses, [
    '/dev/sda1 mounted /boot in the mount namespace of process 77',
    '/dev/sda4 held bcache',
    '/dev/sda5 mounted /pool in the mount namespace of process 77',
    '/dev/sda2 held /dev/mapper/vg-root (lvm)',
    '/dev/sda3 held /dev/md127 (raid1)',
    '/dev/mapper/vg-root held /dev/mapper/secret (crypt)',
    '/dev/md127 mounted /srv/a b',
  ]);
});

test('a btrfs of which no mount is seen holds its devices', async () => {
  await using kernel = await fakeKernel(machine, { ...inClass, ...namespaces });
  const uses = findUses(await readUsage(kernel.roots), '8:0');
  assert.ok(uses.some(({ device, by }) => device === '/dev/sda5' && by === 'the btrfs file system 6f5e'));
});

test('a disk that is named is in use if another path to the same storage is', async () => {
  const other = 'sys/devices/pci0000:00/0000:00:1f.2/ata1/host1/target1:0:0/1:0:0:0/block/sdb';
  const files = {
    [`${other}/dev`]: '8:16\n',
    [`${other}/size`]: '41943040\n',
    [`${other}/device/wwid`]: 'naa.5002538f\n',
  };
  const links = { ...inClass, ...namespaces, 'sys/class/block/sdb': `../../../${other}` };
  await using kernel = await fakeKernel({ ...machine, ...files }, links);
  const usage = await readUsage(kernel.roots);
  // As lsblk says it.
  const named = { wwn: '0x5002538F', serial: 'S1', sizeBytes: 41943040 * 512, major: 8, minor: 16 };
  const uses = await usesOfOtherPaths(named, usage);
  assert.ok(uses.some(({ by }) => by === '/srv/a b'));
  assert.deepEqual(await usesOfOtherPaths({ ...named, sizeBytes: 512 }, usage), [], 'the number is not its alone');
  assert.deepEqual(await usesOfOtherPaths({ ...named, wwn: undefined }, usage), []);
  assert.deepEqual(await usesOfOtherPaths({ ...named, minor: 0 }, usage), [], 'its own uses are no others');
});

test('the partitions that kpartx makes of a multipath device are its partitions, and those of a plain disk hold it', async () => {
  const virtual = 'sys/devices/virtual/block';
  const files = {
    [`${sda}/dev`]: '8:0\n',
    [`${sda}/holders/dm-0/x`]: '',
    [`${virtual}/dm-0/dev`]: '253:0\n',
    [`${virtual}/dm-0/dm/name`]: 'mpatha\n',
    [`${virtual}/dm-0/dm/uuid`]: 'mpath-3600\n',
    [`${virtual}/dm-0/slaves/sda/x`]: '',
    [`${virtual}/dm-0/holders/dm-1/x`]: '',
    [`${virtual}/dm-1/dev`]: '253:1\n',
    [`${virtual}/dm-1/dm/name`]: 'mpatha-part1\n',
    [`${virtual}/dm-1/dm/uuid`]: 'part1-mpath-3600\n',
    [`${virtual}/dm-1/slaves/dm-0/x`]: '',
    [`${virtual}/dm-1/holders/dm-2/x`]: '',
    [`${virtual}/dm-2/dev`]: '253:2\n',
    [`${virtual}/dm-2/dm/name`]: 'vg-data\n',
    [`${virtual}/dm-2/dm/uuid`]: 'LVM-x\n',
  };
  const links = Object.fromEntries(
    [['sda', sda], ...['dm-0', 'dm-1', 'dm-2'].map((name) => [name, `${virtual}/${name}`])].map(([name, target]) => [
      `sys/class/block/${name}`,
      `../../../${target}`,
    ]),
  );
  await using kernel = await fakeKernel(files, links);
  const usage = await readUsage(kernel.roots);
  assert.deepEqual(
    findUses(usage, '253:0').map(({ device, by }) => `${device} ${by}`),
    ['/dev/mapper/mpatha-part1 /dev/mapper/vg-data (lvm)'],
  );
  assert.equal(findUses(usage, '8:0')[0]?.by, '/dev/mapper/mpatha (mpath)');
});

/** Where sysfs has a device, and the name of its bus. */
for (const [path, files, expected] of [
  [`pci0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb`, {}, 'usb'],
  ['pci0/ata1/host0/target0:0:0/0:0:0:0/block/sda', {}, 'sata'],
  ['pci0/virtio1/block/vda', {}, 'virtio'],
  ['pci0/host0/port-0:0/end_device-0:0/target0:0:0/0:0:0:0/block/sda', {}, 'sas'],
  ['pci0/host0/rport-0:0-1/target0:0:0/0:0:0:0/block/sda', {}, 'fc'],
  ['platform/host0/session1/target0:0:0/0:0:0:0/block/sda', {}, 'iscsi'],
  ['pci0/nvme/nvme0/nvme0n1', { 'device/transport': 'pcie' }, 'nvme'],
  ['virtual/nvme-fabrics/ctl/nvme0/nvme0n1', { 'device/transport': 'tcp' }, 'nvme-tcp'],
  ['virtual/nvme-subsystem/nvme-subsys0/nvme0n1', { 'device/nvme0/transport': 'pcie' }, 'nvme'],
  ['pci0/mmc_host/mmc0/mmc0:0001/block/mmcblk0', { 'device/type': 'MMC' }, 'mmc'],
  ['pci0/mmc_host/mmc0/mmc0:0001/block/mmcblk0', { 'device/type': 'SD' }, 'sd'],
  ['virtual/block/bcache0', {}, 'software'],
  ['rbd/0/block/rbd0', {}, 'software'],
  ['LNXSYSTM:00/ndbus0/region0/namespace0.0/block/pmem0', {}, 'software'],
  ['pci0/host0/target0:2:0/0:2:0:0/block/sda', {}, undefined],
] as const) {
  test(`the transport of ${path} is ${expected}`, async () => {
    const directory = `sys/devices/${path}`;
    const name = path.slice(path.lastIndexOf('/') + 1);
    const below = Object.fromEntries(Object.entries(files).map(([file, text]) => [`${directory}/${file}`, text]));
    await using kernel = await fakeKernel(
      { [`${directory}/dev`]: '8:0\n', ...below },
      { [`sys/class/block/${name}`]: `../../../${directory}` },
    );
    const device = (await readBlockDevices(kernel.roots)).get(name) ?? assert.fail();
    assert.equal((await readProperties(device)).transport, expected);
  });
}

test('readProperties() tells what hints can match without udev, and disks on external ports', async () => {
  await using kernel = await fakeKernel(machine, inClass);
  const device = (await readBlockDevices(kernel.roots)).get('sda') ?? assert.fail();
  const { model, rotational, wwn, sizeBytes, isExternal } = await readProperties(device);
  assert.deepEqual(
    [model, rotational, wwn, sizeBytes, isExternal],
    [...['BAD MODEL', true, 'naa.5002538f', 41943040 * 512, false]],
  );
  const port = 'sys/devices/pci0000:00/0000:00:1f.2/removable';
  await using docked = await fakeKernel({ ...machine, [port]: 'removable\n' }, inClass);
  const outside = (await readBlockDevices(docked.roots)).get('sda') ?? assert.fail();
  assert.equal((await readProperties(outside)).isExternal, true);
});
