import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { humanSize, readBlockDevices, readPciDevices } from '../../agent/sysfs.ts';

/** A tree as the kernel makes it: path → content; `-> target` for a link. */
async function treeOf(test: TestContext, files: Readonly<Record<string, string>>): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'nibs-sysfs-'));
  test.after(() => rm(root, { recursive: true }));
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    if (content.startsWith('-> ')) await symlink(content.slice(3), join(root, path));
    else await writeFile(join(root, path), `${content}\n`);
  }
  return root;
}

test('readBlockDevices() reads disks, and nothing that is part of one, made of one or in memory', async (t) => {
  const root = await treeOf(t, {
    'class/block/nvme0n1/size': '1953525168',
    'class/block/nvme0n1/queue/rotational': '0',
    'class/block/nvme0n1/queue/physical_block_size': '4096',
    'class/block/nvme0n1/wwid': 'eui.0025385b71b00001',
    'class/block/nvme0n1/device/model': 'Samsung SSD 980  ',
    'class/block/nvme0n1/device/serial': 'S649NX0R',
    'class/block/nvme0n1p1/size': '2048',
    'class/block/sda/size': '7814037168',
    'class/block/sda/queue/rotational': '1',
    'class/block/sda/queue/physical_block_size': '512',
    'class/block/sda/device/vendor': 'ATA     ',
    'class/block/sda/device/wwid': 'naa.5000c500a0b0c0d0',
    'class/block/sda1/size': '2048',
    'class/block/sr0/size': '2097151',
    'class/block/sr0/queue/rotational': '1',
    'class/block/loop0/size': '2048',
    'class/block/loop0/queue/rotational': '0',
    'class/block/dm-0/queue/rotational': '0',
    'class/block/ram0/queue/rotational': '0',
    'class/block/md127/queue/rotational': '0',
  });
  assert.deepEqual(JSON.parse(JSON.stringify(await readBlockDevices(root))), [
    {
      name: 'nvme0n1',
      controllerType: 'NVMe',
      driveType: 'SSD',
      size: '932GB',
      physicalBlockSize: '4KB',
      model: 'Samsung SSD 980',
      wwn: 'eui.0025385b71b00001',
      serialNumber: 'S649NX0R',
    },
    {
      name: 'sda',
      controllerType: 'SCSI',
      driveType: 'HDD',
      size: '4TB',
      physicalBlockSize: '512B',
      vendor: 'ATA',
      wwn: 'naa.5000c500a0b0c0d0',
    },
    { name: 'sr0', controllerType: 'SCSI', driveType: 'ODD', size: '1024MB' },
  ]);
});

test('readPciDevices() gives names where the machine has a database of them, and numbers where it has none', async (t) => {
  const root = await treeOf(t, {
    'bus/pci/devices/0000:00:01.0/vendor': '0x1af4',
    'bus/pci/devices/0000:00:01.0/device': '0x1041',
    'bus/pci/devices/0000:00:01.0/class': '0x020000',
    'bus/pci/devices/0000:00:01.0/driver': '-> ../../drivers/virtio-pci',
    'bus/pci/devices/0000:00:02.0/vendor': '0x1013',
    'bus/pci/devices/0000:00:02.0/device': '0x00b8',
    'bus/pci/devices/0000:00:02.0/class': '0x030000',
    'pci.ids':
      '# comment\n1013  Cirrus Logic\n\t00b8  GD 5446\n1af4  Red Hat, Inc.\n\t1041  Virtio 1.0 network device\n\t\t1af4 1100  QEMU\n\nC 02  Network controller\n\t00  Ethernet controller\nC 03  Display controller',
  });
  assert.deepEqual(JSON.parse(JSON.stringify(await readPciDevices(root, [join(root, 'pci.ids')]))), [
    {
      vendor: 'Red Hat, Inc.',
      product: 'Virtio 1.0 network device',
      class: 'Network controller',
      driver: 'virtio-pci',
      isGpu: false,
    },
    { vendor: 'Cirrus Logic', product: 'GD 5446', class: 'Display controller', isGpu: true },
  ]);
  const [network] = await readPciDevices(root, [join(root, 'missing')]);
  assert.deepEqual(network, {
    vendor: '0x1af4',
    product: '0x1041',
    class: '0x020000',
    driver: 'virtio-pci',
    isGpu: false,
  });
});

test('humanSize() writes amounts as the Go agent does', () => {
  const sizes = [0, 1, 512, 1023, 1024, 1025, 4096, 16 * 1024 ** 3, 1_000_204_886_016, Number.NaN].map(humanSize);
  assert.deepEqual(sizes, [undefined, '1B', '512B', '1023B', '1KB', '2KB', '4KB', '16GB', '932GB', undefined]);
});
