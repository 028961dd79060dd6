import assert from 'node:assert/strict';
import { readFile, truncate } from 'node:fs/promises';
import { test } from 'node:test';
import { execa } from 'execa';
import { systemClock } from '../../../clock/system.ts';
import { type Hint, parseHint } from '../../../installer/disk/hints.ts';
import { readClaim } from '../../../installer/disk/in-use.ts';
import { type Disk, parseLsblk } from '../../../installer/disk/lsblk.ts';
import {
  chooseSmallest,
  describeCandidates,
  inspectDevice,
  listDisks,
  NoDiskError,
  type Selection,
  type SelectionOptions,
} from '../../../installer/disk/select.ts';
import { createLoopDevice } from '../../sandbox/loop-device.ts';
import { mountScratch } from '../../sandbox/scratch-mount.ts';

const gigabyte = 1e9;

/** A device as lsblk of util-linux 2.38 describes it. */
interface Device {
  readonly path: string;
  readonly majorMinor?: string;
  readonly type?: string;
  readonly size?: number | string;
  readonly [column: string]: unknown;
  readonly children?: readonly Device[];
}

function lsblk(...devices: Device[]): string {
  const node = ({ majorMinor = '8:0', children, ...columns }: Device): unknown => ({
    type: 'disk',
    size: 20 * gigabyte,
    'log-sec': 512,
    ro: false,
    rm: false,
    tran: null,
    model: null,
    serial: null,
    wwn: null,
    fstype: null,
    mountpoints: [null],
    'maj:min': majorMinor,
    ...columns,
    ...(children === undefined ? {} : { children: children.map(node) }),
  });
  return JSON.stringify({ blockdevices: devices.map(node) });
}

/** The disks of such a report, with properties that lsblk does not have. */
function toDisks(devices: readonly Device[], properties: Readonly<Record<string, Partial<Disk>>> = {}): Disk[] {
  return parseLsblk(lsblk(...devices)).map(({ number, ...device }) => {
    const [major = 0, minor = 0] = number.split(':').map(Number);
    return {
      ...device,
      ...{ major, minor, type: device.type ?? 'disk', sizeBytes: device.sizeBytes ?? 0 },
      ...{ sectorSizeBytes: device.sectorSizeBytes ?? 512, readOnly: device.readOnly === true },
      ...{ removable: device.removable === true, isExternal: false, mayOpen: true, rotational: undefined },
      ...{ links: [], vendor: undefined, members: [] },
      ...properties[device.path],
    };
  });
}

function choose(
  devices: Device[],
  options?: SelectionOptions,
  properties?: Readonly<Record<string, Partial<Disk>>>,
): Selection {
  return chooseSmallest(toDisks(devices, properties), options);
}

function hint(text: string): Hint {
  const parsed = parseHint(text);
  if ('wrong' in parsed) assert.fail(parsed.wrong);
  return parsed;
}

function reasonFor(selection: Selection, path: string): string {
  return selection.candidates.find(({ disk }) => disk.path === path)?.reason ?? 'not seen';
}

test('chooseSmallest() takes the smallest of the unused disks', () => {
  const selection = choose([
    { path: '/dev/sda', size: 40 * gigabyte },
    { path: '/dev/sdb', size: 20 * gigabyte },
    { path: '/dev/sdc', size: 30 * gigabyte },
  ]);
  assert.equal(selection.chosen?.path, '/dev/sdb');
  assert.deepEqual(
    selection.candidates.map(({ disk, verdict }) => [disk.path, verdict]),
    [
      ['/dev/sdb', 'chosen'],
      ['/dev/sdc', 'larger'],
      ['/dev/sda', 'larger'],
    ],
  );
});

test('chooseSmallest() wants more than 10^10 bytes, not as many', () => {
  assert.equal(choose([{ path: '/dev/sda', size: 10_000_000_000 }]).chosen, undefined);
  assert.equal(choose([{ path: '/dev/sda', size: 10_000_000_512 }]).chosen?.path, '/dev/sda');
  assert.equal(choose([{ path: '/dev/sda', size: 1_000_001 }], { minBytes: 1_000_000 }).chosen?.path, '/dev/sda');
});

test('chooseSmallest() breaks ties by path in byte order', () => {
  const paths = ['/dev/vda', '/dev/sdb', '/dev/sdaa', '/dev/nvme0n1', '/dev/sda'];
  const order = choose(paths.map((path) => ({ path }))).candidates.map(({ disk }) => disk.path);
  assert.deepEqual(order, ['/dev/nvme0n1', '/dev/sda', '/dev/sdaa', '/dev/sdb', '/dev/vda']);
});

test('chooseSmallest() is not misled by a size that is part of another', () => {
  const selection = choose([
    { path: '/dev/sda', size: 120_000_000_000 },
    { path: '/dev/sdb', size: 20_000_000_000 },
  ]);
  assert.equal(selection.chosen?.path, '/dev/sdb');
});

test('chooseSmallest() tells sda from sdaa', () => {
  const selection = choose([
    { path: '/dev/sda', size: 15 * gigabyte },
    { path: '/dev/sdaa', children: [{ path: '/dev/sdaa1', type: 'part', mountpoints: ['/data'] }] },
  ]);
  assert.equal(selection.chosen?.path, '/dev/sda');
  assert.equal(reasonFor(selection, '/dev/sdaa'), '/dev/sdaa1 is mounted at /data');
});

test('chooseSmallest() passes over what is mounted, swapped to or held, also several layers up', () => {
  const selection = choose([
    { path: '/dev/sda', mountpoints: ['/etc/hosts', '/'] },
    { path: '/dev/sdb', children: [{ path: '/dev/sdb2', type: 'part', mountpoints: ['[SWAP]'] }] },
    {
      path: '/dev/sdc',
      children: [{ path: '/dev/sdc1', type: 'part', children: [{ path: '/dev/mapper/vg-lv', type: 'lvm' }] }],
    },
    {
      path: '/dev/sdd',
      children: [{ path: '/dev/md0', type: 'raid1', children: [{ path: '/dev/md0p1', type: 'part' }] }],
    },
    { path: '/dev/sde', children: [{ path: '/dev/mapper/mpatha', type: 'mpath', mountpoints: ['/srv'] }] },
    { path: '/dev/sdf', children: [{ path: '/dev/sdf1', type: 'part' }] },
  ]);
  assert.equal(reasonFor(selection, '/dev/sda'), 'it is mounted at /');
  assert.equal(reasonFor(selection, '/dev/sdb'), '/dev/sdb2 is used as swap');
  assert.equal(reasonFor(selection, '/dev/sdc'), 'it is held by /dev/mapper/vg-lv (lvm)');
  assert.equal(reasonFor(selection, '/dev/sdd'), 'it is held by /dev/md0 (raid1)');
  assert.equal(reasonFor(selection, '/dev/sde'), 'it is held by /dev/mapper/mpatha (mpath)');
  assert.equal(reasonFor(selection, '/dev/mapper/mpatha'), 'it is mounted at /srv');
  assert.equal(selection.chosen?.path, '/dev/sdf');
});

test('chooseSmallest() takes a multipath device and leaves its paths alone', () => {
  const mpatha = { path: '/dev/mapper/mpatha', type: 'mpath', majorMinor: '253:0' };
  const selection = choose([
    { path: '/dev/sda', children: [mpatha] },
    { path: '/dev/sdb', children: [mpatha] },
  ]);
  assert.equal(selection.chosen?.path, '/dev/mapper/mpatha');
  assert.equal(selection.candidates.length, 3);
});

test('chooseSmallest() sees through a second path to storage that is in use', () => {
  const selection = choose([
    { path: '/dev/sda', wwn: '0x5000c500a0b1c2d3', mountpoints: ['/data'] },
    { path: '/dev/sdb', wwn: '0x5000c500a0b1c2d3' },
  ]);
  assert.equal(selection.chosen, undefined);
  assert.equal(reasonFor(selection, '/dev/sdb'), '/dev/sda is mounted at /data');
});

test('chooseSmallest() passes over what cannot be installed to and goes on to the next', () => {
  const selection = choose([
    { path: '/dev/sr0', type: 'rom', majorMinor: '11:0', rm: true },
    { path: '/dev/zram0', majorMinor: '253:0' },
    { path: '/dev/ram0', majorMinor: '1:0' },
    { path: '/dev/fd0', majorMinor: '2:0' },
    { path: '/dev/loop0', type: 'loop', majorMinor: '7:0' },
    { path: '/dev/mapper/vg-lv', type: 'lvm', majorMinor: '252:0' },
    { path: '/dev/md0', type: 'raid1', majorMinor: '9:0' },
    { path: '/dev/sda', ro: true },
    { path: '/dev/sdb', rm: true, tran: 'usb' },
    { path: '/dev/sdc', size: 0 },
    { path: '/dev/sdd', 'log-sec': 4096 },
    { path: '/dev/sdz', size: 100 * gigabyte, fstype: 'ext4' },
  ]);
  assert.equal(selection.chosen?.path, '/dev/sdz');
  assert.match(reasonFor(selection, '/dev/sr0'), /type rom, not a full disk/);
  assert.match(reasonFor(selection, '/dev/zram0'), /a RAM disk or floppy/);
  assert.match(reasonFor(selection, '/dev/ram0'), /a RAM disk or floppy/);
  assert.match(reasonFor(selection, '/dev/fd0'), /a RAM disk or floppy/);
  assert.match(reasonFor(selection, '/dev/loop0'), /type loop.*-I 7/);
  assert.match(reasonFor(selection, '/dev/mapper/vg-lv'), /type lvm/);
  assert.match(reasonFor(selection, '/dev/md0'), /type raid1, not a full disk/);
  assert.match(reasonFor(selection, '/dev/sda'), /read-only/);
  assert.match(reasonFor(selection, '/dev/sdb'), /attached by USB/);
  assert.match(reasonFor(selection, '/dev/sdc'), /no medium or size/);
  assert.match(reasonFor(selection, '/dev/sdd'), /its sectors have 4096 bytes/);
});

test('chooseSmallest() includes and excludes by major number', () => {
  const devices = [
    { path: '/dev/nvme0n1', majorMinor: '259:0', size: 16 * gigabyte },
    { path: '/dev/sda', majorMinor: '8:0' },
    { path: '/dev/loop3', type: 'loop', majorMinor: '7:3', size: 12 * gigabyte },
  ];
  assert.equal(choose(devices).chosen?.path, '/dev/nvme0n1');
  assert.equal(choose(devices, { excludeMajors: [259] }).chosen?.path, '/dev/sda');
  assert.equal(choose(devices, { includeMajors: [8] }).chosen?.path, '/dev/sda');
  assert.equal(choose(devices, { includeMajors: [7] }).chosen?.path, '/dev/loop3');
  assert.equal(choose(devices, { includeMajors: [7, 8], excludeMajors: [7] }).chosen?.path, '/dev/sda');
});

test('chooseSmallest() takes fixed disks of the machine only: nothing attached from outside, nothing made by software', () => {
  const devices = ['sda', 'sdb', 'sdc', 'sdd', 'sde', 'sdf', 'sdg', 'mmcblk0', 'mmcblk1', 'nvme0n1', 'bcache0', 'zd0'];
  const selection = choose(
    devices.map((name) => ({ path: `/dev/${name}`, size: (name === 'mmcblk1' ? 90 : 20) * gigabyte })),
    {},
    {
      '/dev/sda': { transport: 'usb' },
      '/dev/sdb': { transport: 'iscsi' },
      '/dev/sdc': { transport: 'fc' },
      '/dev/sdd': { removable: true },
      '/dev/sde': { isExternal: true },
      '/dev/sdf': { transport: 'software' },
      '/dev/sdg': { mayOpen: false },
      '/dev/mmcblk0': { transport: 'sd' },
      '/dev/mmcblk1': { transport: 'mmc' },
      '/dev/nvme0n1': { transport: 'nvme-tcp' },
    },
  );
  assert.equal(selection.chosen?.path, '/dev/mmcblk1', 'eMMC is soldered to the board');
  assert.match(reasonFor(selection, '/dev/sda'), /by USB \(select it with -d, or with --match transport=usb\)/);
  for (const name of ['sdb', 'sdc', 'nvme0n1']) assert.match(reasonFor(selection, `/dev/${name}`), /storage network/);
  assert.match(reasonFor(selection, '/dev/sdd'), /removable/);
  assert.match(reasonFor(selection, '/dev/sde'), /port for external devices/);
  for (const name of ['sdf', 'bcache0', 'zd0']) assert.match(reasonFor(selection, `/dev/${name}`), /made by software/);
  assert.match(reasonFor(selection, '/dev/sdg'), /may not open it/);
  assert.match(reasonFor(selection, '/dev/mmcblk0'), /SD card/);
});

const lvm = {
  ...{ device: '/dev/sda2', signature: 'LVM2_member', system: 'LVM', isForeign: false },
  ...{ offsetBytes: 1e9, sizeBytes: 1e9 },
};
const vmfs = {
  ...{ device: '/dev/sda', signature: 'VMFS_volume_member', system: 'VMFS', isForeign: true },
  ...{ offsetBytes: 0, sizeBytes: 2e9 },
};

const held = { kind: 'held', device: '/dev/sda', by: '/dev/md0 (raid1)' } as const;

test('chooseSmallest() takes members of arrays and pools only with --wipe-members, and says so', () => {
  const only = [{ path: '/dev/sda' }];
  const ofLvm = { '/dev/sda': { members: [lvm] } };
  const refused = choose(only, {}, ofLvm);
  assert.equal(refused.chosen, undefined);
  assert.equal(
    reasonFor(refused, '/dev/sda'),
    'its partition /dev/sda2 has a signature of LVM (LVM2_member) (select it with -d, or give --wipe-members)',
  );
  assert.match(new NoDiskError(refused.candidates).hint ?? '', /--wipe-members/);
  assert.equal(choose(only, { wipeMembers: 'own' }, ofLvm).chosen?.path, '/dev/sda');
  const ofBoth = { '/dev/sda': { members: [lvm, vmfs] } };
  const foreign = choose(only, { wipeMembers: 'own' }, ofBoth);
  assert.equal(
    reasonFor(foreign, '/dev/sda'),
    'it has a signature of VMFS (VMFS_volume_member) (select it with -d, or give --wipe-members=foreign)',
  );
  assert.equal(choose(only, { wipeMembers: 'foreign' }, ofBoth).chosen?.path, '/dev/sda');
  assert.doesNotMatch(new NoDiskError([]).hint ?? '', /members/);
});

test('chooseSmallest() passes over a disk that cannot be read, whatever may be wiped', () => {
  const devices = [{ path: '/dev/sda' }, { path: '/dev/sdb', size: 30 * gigabyte }];
  const failing = { '/dev/sda': { unreadable: 'i/o error' } };
  for (const options of [{}, { wipeMembers: 'own' }, { wipeMembers: 'foreign' }] as const) {
    const selection = choose(devices, options, failing);
    assert.equal(selection.chosen?.path, '/dev/sdb');
    assert.equal(reasonFor(selection, '/dev/sda'), 'it cannot be read: i/o error (select it with -d)');
  }
  const used = choose(devices, {}, { '/dev/sda': { unreadable: 'i/o error', uses: [held] } });
  assert.equal(reasonFor(used, '/dev/sda'), 'it is held by /dev/md0 (raid1)');
});

test('chooseSmallest() takes the smallest of those that match, by the first hint that fits', () => {
  const devices = [
    { path: '/dev/sda', size: 20 * gigabyte, model: 'QEMU HARDDISK' },
    { path: '/dev/sdb', size: 30 * gigabyte, model: 'Samsung SSD 870', serial: 'S1' },
    { path: '/dev/sdc', size: 40 * gigabyte, model: 'Samsung SSD 990', serial: 'S2' },
    { path: '/dev/sdd', size: 10 * gigabyte, model: 'Samsung SSD 870', tran: 'usb' },
  ];
  const chosen = (...texts: string[]) => choose(devices, { match: texts.map(hint) }).chosen?.path;
  assert.equal(chosen('model=samsung*'), '/dev/sdb');
  assert.equal(chosen('model=samsung*,size>=35GB'), '/dev/sdc');
  assert.equal(chosen('serial=none', 'serial=S2', 'model=*'), '/dev/sdc');
  assert.equal(chosen('model=Samsung'), undefined, 'a pattern matches the whole property');
  const selection = choose(devices, { match: [hint('serial=S2')] });
  assert.equal(reasonFor(selection, '/dev/sdc'), 'the smallest unused disk that matches serial=S2');
  assert.equal(reasonFor(selection, '/dev/sda'), 'it does not match --match');
  const usb = choose(devices, { match: [hint('transport=usb')], minBytes: 1 });
  assert.equal(usb.chosen?.path, '/dev/sdd', 'named, so allowed');
});

test('chooseSmallest() never takes what --never describes', () => {
  const devices = [{ path: '/dev/sda' }, { path: '/dev/sdb', serial: 'DATA-1', size: 15 * gigabyte }];
  const selection = choose(devices, { never: [hint('serial=DATA-*')], match: [hint('path=/dev/sd*')] });
  assert.equal(selection.chosen?.path, '/dev/sda');
  assert.equal(reasonFor(selection, '/dev/sdb'), 'it matches --never serial=DATA-*');
});

test('chooseSmallest() does not take two devices of one number for one storage if they differ', () => {
  const wwn = '0x5000000000000000';
  const selection = choose([
    { path: '/dev/sda', wwn, serial: 'A', mountpoints: ['/data'] },
    { path: '/dev/sdb', wwn: 'naa.5000000000000000', serial: 'B' },
    { path: '/dev/sdc', wwn: 'naa.5000000000000000', serial: 'A', size: 20 * gigabyte },
  ]);
  assert.equal(selection.chosen?.path, '/dev/sdb');
  assert.equal(reasonFor(selection, '/dev/sdc'), '/dev/sda is mounted at /data');
});

test('NoDiskError says the sentence of the original and shows every disk with the reason', () => {
  const { candidates } = choose([
    { path: '/dev/sda', size: 8 * gigabyte, model: 'QEMU HARDDISK', tran: 'sata' },
    { path: '/dev/sdb', mountpoints: ['/data'] },
    { path: '/dev/loop0', type: 'loop', size: 0 },
  ]);
  const error = new NoDiskError(candidates);
  assert.deepEqual(
    error.message.split('\n').map((line) => line.replace(/ +/g, ' ')),
    [
      'Could not find smallest disk to install (min. 10GB).',
      '/dev/sda 8GB disk sata QEMU HARDDISK not usable: it is not larger than 10GB',
      '/dev/sdb 20GB disk - not usable: it is mounted at /data',
    ],
  );
  assert.match(new NoDiskError([], 3e9).message, /min\. 3GB\)\.\nno block device was found/);
});

test('describeCandidates() names the chosen disk', () => {
  assert.match(
    describeCandidates(choose([{ path: '/dev/vda' }]).candidates),
    /^\/dev\/vda .* chosen: the smallest unused disk$/,
  );
});

test('listDisks() sees real devices, and chooseSmallest() a real loop device when it is asked for', async () => {
  // Of the devices of other tests none can be as large as these and the smallest, but for those of
  // this test in a chroot.
  await using small = await createLoopDevice({ sizeBytes: 7e12 });
  await using large = await createLoopDevice({ sizeBytes: 8e12 });
  const disks = await listDisks(systemClock);
  const found = disks.find(({ path }) => path === small.path);
  assert.equal(found?.sizeBytes, 7e12 - (7e12 % 512));
  assert.equal(found?.type, 'loop');
  assert.equal(found?.sectorSizeBytes, 512);
  assert.deepEqual(found?.uses, []);
  const ours = disks.filter(({ path, sizeBytes }) => sizeBytes < 6e12 || [small.path, large.path].includes(path));
  const selection = chooseSmallest(ours, { includeMajors: [7], minBytes: 6e12 });
  assert.equal(selection.chosen?.path, small.path);
  assert.equal(reasonFor(selection, large.path), 'usable, but not the smallest');
});

test('listDisks() never offers the disk that the system runs from', async () => {
  const root = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').find((line) => line.split(' ')[4] === '/');
  const source = root?.split(' - ')[1]?.split(' ')[1] ?? '';
  const disk = (await listDisks(systemClock)).find(
    ({ path, partitions }) => path === source || partitions.includes(source),
  );
  assert.notEqual(disk?.uses.length, 0);
});

test('inspectDevice() tells a disk that cannot be read from one that belongs to nothing', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 32 * 1024 * 1024 });
  assert.equal((await inspectDevice(loop.path, systemClock))?.unreadable, undefined);
  // A loop device fails to read what its file does not have any more.
  await truncate(loop.backingPath, 16 * 1024 * 1024);
  await execa('blockdev', ['--flushbufs', loop.path]);
  const found = await inspectDevice(loop.path, systemClock);
  assert.deepEqual(found?.members, []);
  assert.match(found?.unreadable ?? '', /i\/o error|EIO/i);
});

test('inspectDevice() names the mount point of a mounted device, and readClaim() knows without seeing it', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * 1024 * 1024 });
  assert.equal(await readClaim(loop.path, systemClock), 'free');
  await using mounted = await mountScratch(loop.path);
  assert.deepEqual((await inspectDevice(loop.path, systemClock))?.uses, [
    { kind: 'mounted', device: loop.path, by: mounted.directory },
  ]);
  assert.equal(await readClaim(loop.path, systemClock), 'claimed');
});
