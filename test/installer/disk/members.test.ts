import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { test } from 'node:test';
import { execa } from 'execa';
import { findMembers } from '../../../installer/disk/members.ts';
import { createLoopDevice, type LoopDevice } from '../../sandbox/loop-device.ts';

const mebibyte = 1024 * 1024;
const diskBytes = 64 * mebibyte;

async function signaturesOn(loop: LoopDevice): Promise<string[]> {
  const disk = { path: loop.path, sizeBytes: loop.sizeBytes, sectorSizeBytes: 512 };
  return (await findMembers(disk, [])).map(
    ({ device, signature, isForeign }) => `${device.replace(loop.path, '')} ${signature}${isForeign ? ' foreign' : ''}`,
  );
}

async function write(loop: LoopDevice, offset: number, bytes: Uint8Array): Promise<void> {
  await using device = await open(loop.path, 'r+');
  await device.write(bytes, 0, bytes.length, offset);
  await device.sync();
}

/** Superblocks by the programs that make them, without the kernel's part. */
const programs: readonly (readonly [name: string, signature: string, command: (path: string) => readonly string[]])[] =
  [
    ['cryptsetup, LUKS1', 'crypto_LUKS', (path) => luksFormat('luks1', path)],
    ['cryptsetup, LUKS2', 'crypto_LUKS', (path) => luksFormat('luks2', path)],
    ['make-bcache, a backing device', 'bcache', (path) => ['make-bcache', '-B', path]],
    ['make-bcache, a cache', 'bcache', (path) => ['make-bcache', '-C', '--bucket', '64k', path]],
    [
      'pvcreate',
      'LVM2_member',
      (path) => [
        ...['env', 'DM_DISABLE_UDEV=1', 'pvcreate', '--yes', '--driverloaded', 'n', '--config'],
        ...['devices { scan_lvs=0 use_devicesfile=0 } activation { udev_sync=0 }', path],
      ],
    ],
  ];

function luksFormat(type: string, path: string): string[] {
  const fast = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];
  return ['cryptsetup', 'luksFormat', '--batch-mode', '--type', type, ...fast, '--key-file', '/etc/hostname', path];
}

for (const [name, signature, command] of programs) {
  test(`findMembers() finds what ${name} makes, on the disk and on a partition`, async () => {
    await using loop = await createLoopDevice({ sizeBytes: diskBytes });
    const [program = '', ...args] = command(loop.path);
    await execa(program, args);
    assert.deepEqual(await signaturesOn(loop), [` ${signature}`]);
    await using content = await createLoopDevice({ sizeBytes: 32 * mebibyte });
    const [again = '', ...others] = command(content.path);
    await execa(again, others);
    await using parted = await createLoopDevice({ sizeBytes: diskBytes });
    const input = `label: gpt\n2: start=${4 * 2048}, size=${32 * 2048}`;
    await execa('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', parted.path], { input });
    await execa('dd', [`if=${content.path}`, `of=${parted.path}`, 'bs=1M', 'seek=4', 'conv=notrunc,fsync']);
    assert.deepEqual(await signaturesOn(parted), [`p2 ${signature}`]);
  });
}

test('findMembers() finds the second header of LUKS2 when the first is gone', async () => {
  for (const size of [[], ['--luks2-metadata-size', '4m']]) {
    await using loop = await createLoopDevice({ sizeBytes: diskBytes });
    const [program = '', ...args] = luksFormat('luks2', loop.path);
    await execa(program, [...args, ...size]);
    await write(loop, 0, Buffer.alloc(4096));
    assert.deepEqual(await signaturesOn(loop), [' crypto_LUKS'], size.join(' '));
  }
});

/** A superblock of md, version 1.x, which names its own place. Source: linux/raid/md_p.h. */
function raidBlock(at: number): Buffer {
  const block = Buffer.alloc(512);
  block.writeUInt32LE(0xa92b4efc, 0);
  block.writeUInt32LE(1, 4);
  block.fill(7, 16, 32);
  block.writeBigUInt64LE(BigInt(at / 512), 144);
  let sum = 0n;
  for (let offset = 0; offset < 256; offset += 4) sum += BigInt(block.readUInt32LE(offset));
  block.writeUInt32LE(Number((sum & 0xffffffffn) + (sum >> 32n)), 216);
  return block;
}

function oldRaidBlock(order: 'LE' | 'BE'): Buffer {
  const block = Buffer.alloc(4096);
  if (order === 'LE') block.writeUInt32LE(0xa92b4efc, 0);
  else block.writeUInt32BE(0xa92b4efc, 0);
  block[order === 'LE' ? 'writeUInt32LE' : 'writeUInt32BE'](90, 8);
  return block;
}

function zfsBlocks(): Buffer {
  const blocks = Buffer.alloc(8 * 1024);
  for (let block = 0; block < 8; block++) blocks.writeBigUInt64LE(0x00bab10cn, block * 1024);
  return blocks;
}

function btrfsBlock(devices: bigint): Buffer {
  const block = Buffer.alloc(4096);
  block.write('_BHRfS_M', 64, 'latin1');
  block.writeBigUInt64LE(devices, 136);
  return block;
}

const latin1 = (text: string) => Buffer.from(text, 'latin1');

/** Places and bytes by the sources that members.ts names. `blkid`: what libblkid takes it for. */
const layouts: readonly (readonly [name: string, expected: string, offset: number, bytes: Buffer, blkid?: string])[] = [
  ['md 1.0', ' linux_raid_member', diskBytes - 8192, raidBlock(diskBytes - 8192), 'linux_raid_member'],
  ['md 1.1', ' linux_raid_member', 0, raidBlock(0), 'linux_raid_member'],
  ['md 1.2', ' linux_raid_member', 4096, raidBlock(4096), 'linux_raid_member'],
  ['md 0.90', ' linux_raid_member', diskBytes - 65536, oldRaidBlock('LE'), 'linux_raid_member'],
  ['md 0.90 of another byte order', ' linux_raid_member', diskBytes - 65536, oldRaidBlock('BE'), 'linux_raid_member'],
  ['ZFS, first label', ' zfs_member foreign', 128 * 1024, zfsBlocks()],
  ['ZFS, last label', ' zfs_member foreign', diskBytes - 128 * 1024, zfsBlocks()],
  ['DDF', ' ddf_raid_member', diskBytes - 512, Buffer.from('de11de11', 'hex')],
  ['Intel RAID', ' isw_raid_member', diskBytes - 1024, latin1('Intel Raid ISM Cfg Sig. 1.3.00'), 'isw_raid_member'],
  ['DRBD 8', ' drbd', diskBytes - 4096 + 60, Buffer.from('8374026b', 'hex')],
  ['DRBD 9', ' drbd', diskBytes - 4096 + 60, Buffer.from('8374026d', 'hex')],
  ['VMFS volume', ' VMFS_volume_member foreign', mebibyte, Buffer.from('0dd001c0', 'hex'), 'VMFS_volume_member'],
  ['VMFS', ' VMFS_volume_member foreign', 2 * mebibyte, Buffer.from('5ef1ab2f', 'hex'), 'VMFS'],
  ['GFS2', ' gfs2 foreign', 65536, Buffer.from('0116197000000001', 'hex')],
  ['OCFS2', ' ocfs2 foreign', 8192, latin1('OCFSV2'), 'ocfs2'],
  ['Ceph', ' ceph_bluestore foreign', 0, latin1('bluestore block device\n'), 'ceph_bluestore'],
  ['Oracle ASM', ' oracleasm foreign', 32, latin1('ORCLDISK'), 'oracleasm'],
  ['Stratis', ' stratis', 516, latin1('!Stra0tis\x86\xff\x02^\x41rh')],
  ['VDO', ' vdo', 0, latin1('dmvdo001')],
  ['a btrfs of two devices', ' btrfs', 65536, btrfsBlock(2n)],
];

for (const [name, expected, offset, bytes, blkid] of layouts) {
  test(`findMembers() finds ${name}${blkid === undefined ? '' : ', as libblkid does'}`, async () => {
    await using loop = await createLoopDevice({ sizeBytes: diskBytes });
    await write(loop, offset, bytes);
    assert.deepEqual(await signaturesOn(loop), [expected]);
    if (blkid === undefined) return;
    const { stdout } = await execa('blkid', ['--probe', '--output', 'value', '--match-tag', 'TYPE', loop.path]);
    assert.equal(stdout, blkid);
  });
}

test('findMembers() finds nothing in file systems, tables and swap', async () => {
  for (const command of [
    ['mke2fs', '-q', '-F'],
    ['mkfs.btrfs', '-q', '-f'],
    ['mkfs.vfat', '-F', '32'],
    ['mkswap', '-q'],
  ]) {
    await using loop = await createLoopDevice({ sizeBytes: 128 * mebibyte });
    const [program = '', ...args] = command;
    await execa(program, [...args, loop.path]);
    assert.deepEqual(await signaturesOn(loop), [], program);
  }
});

test('findMembers() finds members on logical partitions of a master boot record', async () => {
  await using loop = await createLoopDevice({ sizeBytes: diskBytes });
  const partitions = [
    'label: dos',
    'start=2048, size=2048',
    'start=8192, type=5',
    'start=10240, size=8192',
    'start=20480, size=16384',
  ];
  await execa('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', loop.path], { input: partitions.join('\n') });
  const { stdout } = await execa('sfdisk', ['--json', loop.path]);
  const sixth: { node: string; start: number } = JSON.parse(stdout).partitiontable.partitions.at(-1);
  assert.equal(sixth.node, `${loop.path}p6`);
  await write(loop, sixth.start * 512 + 24, latin1('LVM2 001'));
  assert.deepEqual(await signaturesOn(loop), ['p6 LVM2_member']);
});

test('findMembers() goes by the type of a partition where there is no magic number', async () => {
  await using loop = await createLoopDevice({ sizeBytes: diskBytes });
  const input = [
    'label: gpt',
    'size=2048, type=37AFFC90-EF7D-4E96-91C3-2D7AE055B174',
    'size=2048, type=381CFCCC-7288-11E0-92EE-000C2911D0B2',
    'size=2048, type=E6D6D379-F507-44C2-A23C-238F2A3DF928',
  ];
  await execa('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', loop.path], { input: input.join('\n') });
  assert.deepEqual(await signaturesOn(loop), ['p1 gpfs foreign', 'p2 vsan foreign']);
});
