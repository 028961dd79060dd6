import assert from 'node:assert/strict';
import { test } from 'node:test';
import { execa } from 'execa';
import { systemClock } from '../../../clock/system.ts';
import { findEarlierInstallations } from '../../../installer/disk/earlier-installation.ts';
import { type Disk, inspectDevice } from '../../../installer/disk/select.ts';
import { createLoopDevice, type LoopDevice } from '../../sandbox/loop-device.ts';

const mebibyte = 1024 * 1024;

/**
 * A disk with this table, as if it were not of a loop device: those are gone at the next start and
 * never warned about.
 */
async function makeDisk(...lines: string[]): Promise<{ loop: LoopDevice; disk: Disk }> {
  const loop = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  if (lines.length > 0)
    await execa('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', loop.path], { input: lines.join('\n') });
  const disk = (await inspectDevice(loop.path, systemClock)) ?? assert.fail();
  return { loop, disk: { ...disk, type: 'disk' } };
}

for (const [name, lines, sign] of [
  [
    'the partition of the operating system, whatever its label',
    ['label: gpt', 'size=2048, uuid=7130c94a-213a-4e5a-8e26-6cce9662f132'],
    'has the partition #1 of a Flatcar installation',
  ],
  [
    'labels that the boot goes by',
    ['label: gpt', 'size=2048, name=boot', 'size=2048, name=OEM', 'size=2048, name=ROOT'],
    'has the partitions OEM, ROOT of a Flatcar installation',
  ],
  [
    'the GUID of an image that was never booted',
    ['label: gpt', 'label-id: 00000000-0000-0000-0000-000000000001', 'size=2048, name=data'],
    'has the disk GUID of a Flatcar image',
  ],
  ['nothing of it', ['label: gpt', 'size=2048, name=root'], undefined],
  ['a table of another kind', ['label: dos', 'size=2048'], undefined],
  ['no table', [], undefined],
] as const) {
  test(`findEarlierInstallations() ${sign === undefined ? 'is silent about' : 'warns about'} a disk with ${name}`, async () => {
    const { loop, disk } = await makeDisk(...lines);
    await using _loop = loop;
    const expected = sign === undefined ? [] : [{ path: disk.path, sign }];
    assert.deepEqual(await findEarlierInstallations([disk], '/dev/target'), expected);
  });
}

test('findEarlierInstallations() finds a file system by its label, not that of its partition', async () => {
  const { loop, disk } = await makeDisk('label: gpt', 'start=2048, size=2048', 'start=4096, size=65536, name=data');
  await using _loop = loop;
  await execa('mke2fs', ['-q', '-t', 'ext4', '-L', 'ROOT', '-E', `offset=${2 * mebibyte}`, loop.path, '32M']);
  assert.deepEqual(await findEarlierInstallations([disk], '/dev/target'), [
    { path: disk.path, sign: 'has a file system with the label ROOT of a Flatcar installation' },
  ]);
});

test('findEarlierInstallations() leaves out the target under each of its paths, and what cannot be booted or read', async () => {
  const { loop, disk } = await makeDisk('label: gpt', 'size=2048, name=ROOT');
  await using _loop = loop;
  assert.deepEqual(await findEarlierInstallations([disk], disk.path), []);
  const target = { ...disk, path: '/dev/target', wwn: 'naa.5000' };
  assert.deepEqual(await findEarlierInstallations([target, { ...disk, wwn: 'naa.5000' }], target.path), []);
  assert.deepEqual(await findEarlierInstallations([{ ...disk, type: 'loop' }], '/dev/target'), []);
  assert.deepEqual(await findEarlierInstallations([{ ...disk, path: '/dev/no-such-disk' }], '/dev/target'), []);
});
