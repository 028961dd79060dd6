import assert from 'node:assert/strict';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { editBtrfs } from '../../../../installer/configure/btrfs-rewrite.ts';
import { installCloudConfig } from '../../../../installer/configure/cloud-config.ts';
import {
  createEfiEntry,
  efiEntryArguments,
  parseEfiEntries,
  replaceInOrder,
} from '../../../../installer/configure/efi.ts';
import { ConfigurationError } from '../../../../installer/configure/errors.ts';
import { installIgnition } from '../../../../installer/configure/ignition/install.ts';
import { refuseOtherDevice } from '../../../../installer/configure/mount.ts';
import { installNetworkUnits } from '../../../../installer/configure/network.ts';
import { openDisk } from '../../../../installer/disk/device.ts';
import { findPartition } from '../../../../installer/disk/gpt.ts';
import { writeImage } from '../../../../installer/disk/write.ts';
import { makeFlatcarImage, partitionOffsetBytes } from '../../../sandbox/flatcar-layout.ts';
import { ImageExtents } from '../../../sandbox/image-extents.ts';
import { createLoopDevice, type LoopDevice } from '../../../sandbox/loop-device.ts';
import { mountDevice } from '../../../sandbox/scratch-mount.ts';
import { attachedLoops } from '../../attached-loops.ts';

const config = Buffer.from('{"ignition": {"version": "2.1.0"}}\n');
const grub = 'set oem_id="metal"\n';

let directory: string;
let image: string;
let imageBytes: number;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-configure-'));
  image = join(directory, 'image');
  const rootFiles = { 'etc/systemd/network/10-kept.network': 'as it was\n' };
  imageBytes = await makeFlatcarImage({
    path: image,
    oemFiles: { 'grub.cfg': grub, 'bin/tool': '#!/bin/sh\n' },
    rootFiles,
  });
});

after(() => rm(directory, { recursive: true }));

function createInstalled(contents = image): Promise<LoopDevice> {
  return createLoopDevice({ sizeBytes: imageBytes, contents });
}

/** Runs `look` on the mounted partition of a disk that no process holds. */
async function withPartition<T>(loop: LoopDevice, label: string, look: (root: string) => Promise<T>): Promise<T> {
  const range = `loop,ro,offset=${partitionOffsetBytes(label)},sizelimit=${sizeOf(label)}`;
  await using mounted = await mountDevice(loop.path, '-o', range);
  return await look(mounted.directory);
}

const sizeOf = (label: string) => (label === 'OEM' ? 128 : 24) * 1024 * 1024;

/** Until it is disposed, temporary files are made there. */
function withTemporary(directory: string): Disposable {
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = directory;
  return {
    [Symbol.dispose]() {
      if (before === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = before;
    },
  };
}

async function readMode(path: string): Promise<string> {
  const { mode, uid, gid } = await stat(path);
  return `${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
}

test('installIgnition() writes config.ign for root only, and keeps what else is on the partition', async () => {
  await using loop = await createInstalled();
  {
    await using disk = await openDisk(loop.path);
    await installIgnition(disk, config);
    assert.deepEqual(await attachedLoops(loop.path), []);
  }
  await withPartition(loop, 'OEM', async (root) => {
    assert.deepEqual(await readFile(join(root, 'config.ign')), config);
    assert.equal(await readMode(join(root, 'config.ign')), '600 0:0');
    assert.equal(await readFile(join(root, 'grub.cfg'), 'utf8'), grub);
    assert.deepEqual((await execa('ls', ['-A', root])).stdout.split('\n'), ['bin', 'config.ign', 'grub.cfg']);
  });
});

test('installIgnition() replaces a config that is there', async () => {
  await using loop = await createInstalled();
  await using disk = await openDisk(loop.path);
  await installIgnition(disk, Buffer.alloc(100_000, 'x'));
  await installIgnition(disk, config);
  await disk[Symbol.asyncDispose]();
  await withPartition(loop, 'OEM', async (root) => {
    assert.deepEqual(await readFile(join(root, 'config.ign')), config);
  });
});

test('installIgnition() works before the image is committed, so that the disk can boot only once it is configured', async () => {
  await using loop = await createLoopDevice({ sizeBytes: imageBytes + 1024 * 1024 });
  {
    await using disk = await openDisk(loop.path);
    const written = await writeImage(new ImageExtents(image), disk);
    await installIgnition(disk, config);
    assert.match((await execa('partx', ['--show', loop.path], { reject: false })).stderr, /failed to read/);
    await written.commit();
  }
  await withPartition(loop, 'OEM', async (root) => {
    assert.deepEqual(await readFile(join(root, 'config.ign')), config);
  });
});

test('installIgnition() writes to the given disk when another has the same labels, UUIDs and is mounted', async () => {
  await using other = await createInstalled();
  await using loop = await createInstalled();
  await withPartition(other, 'OEM', async (root) => {
    await using disk = await openDisk(loop.path);
    await installIgnition(disk, config);
    assert.deepEqual((await execa('ls', ['-A', root])).stdout.split('\n'), ['bin', 'grub.cfg']);
  });
  await execa('cmp', [other.backingPath, image]);
  await withPartition(loop, 'OEM', async (root) => {
    assert.deepEqual(await readFile(join(root, 'config.ign')), config);
  });
});

test('installIgnition() writes to an OEM partition with ext4, as images before August 2021 have it', async () => {
  const older = join(directory, 'older');
  await makeFlatcarImage({ path: older, oemFilesystem: 'ext4' });
  await using loop = await createInstalled(older);
  {
    await using disk = await openDisk(loop.path);
    await installIgnition(disk, config);
  }
  await withPartition(loop, 'OEM', async (root) => {
    assert.deepEqual(await readFile(join(root, 'config.ign')), config);
    assert.equal(await readMode(join(root, 'config.ign')), '600 0:0');
  });
});

test('installIgnition() says so when there is no OEM partition, or nothing usable on it', async () => {
  await using loop = await createInstalled();
  await execa('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', '--part-label', loop.path, '6', 'MEO']);
  await using disk = await openDisk(loop.path);
  await assert.rejects(
    installIgnition(disk, config),
    /the partition OEM on \/dev\/loop\d+: there are only EFI-SYSTEM, /,
  );
  await disk[Symbol.asyncDispose]();

  await using empty = await createInstalled();
  await using emptyDisk = await openDisk(empty.path);
  await emptyDisk.write(Buffer.alloc(1024 * 1024), partitionOffsetBytes('OEM'));
  await assert.rejects(
    installIgnition(emptyDisk, config),
    /partition 6 \(OEM\) of \/dev\/loop\d+: its file system is neither btrfs nor ext4/,
  );
});

test('a file system that cannot be mounted is an error, and nothing stays attached', async () => {
  await using loop = await createInstalled();
  await using disk = await openDisk(loop.path);
  // Leaves only the magic of the super block.
  await disk.write(Buffer.alloc(3000, 0xaa), partitionOffsetBytes('OEM') + 65536 + 128);
  await disk.sync();
  await assert.rejects(installIgnition(disk, config), ConfigurationError);
  assert.deepEqual(await attachedLoops(loop.path), []);
});

test('a config that does not fit is an error, nothing stays attached and no part of the file is left', async () => {
  await using loop = await createInstalled();
  {
    await using disk = await openDisk(loop.path);
    await assert.rejects(installCloudConfig(disk, Buffer.alloc(30 * 1024 * 1024, 'x')), (error: unknown) => {
      assert.ok(error instanceof ConfigurationError);
      assert.match(error.message, /partition 9 \(ROOT\) of \/dev\/loop\d+: ENOSPC/);
      return true;
    });
    assert.deepEqual(await attachedLoops(loop.path), []);
  }
  await withPartition(loop, 'ROOT', async (root) => {
    assert.equal((await execa('ls', ['-A', join(root, 'var/lib/flatcar-install')])).stdout, '');
  });
});

test('an aborted signal stops before anything is attached', async () => {
  await using loop = await createInstalled();
  await using disk = await openDisk(loop.path);
  await assert.rejects(installIgnition(disk, config, AbortSignal.abort()), { name: 'AbortError' });
  assert.deepEqual(await attachedLoops(loop.path), []);
  await execa('cmp', [loop.path, image]);
});

test('installIgnition() writes without the kernel where that does not know btrfs', async () => {
  await using loop = await createInstalled();
  const filesystems = join(directory, 'filesystems');
  const known = (await readFile('/proc/filesystems', 'utf8')).split('\n').filter((line) => !line.includes('btrfs'));
  await writeFile(filesystems, known.join('\n'));
  const script = `
    import { installIgnition } from '${import.meta.resolve('../../../../installer/configure/ignition/install.ts')}';
    import { openDisk } from '${import.meta.resolve('../../../../installer/disk/device.ts')}';
    await using disk = await openDisk('${loop.path}');
    await installIgnition(disk, Buffer.from(process.argv[1]));
  `;
  // A mount namespace of its own, in which the list of file systems is that of another kernel.
  const other = `mount --bind "$0" /proc/filesystems && exec "$@"`;
  const node = [process.execPath, '--input-type=module-typescript', '--eval', script, '--', config.toString()];
  await execa('unshare', ['--mount', 'sh', '-c', other, filesystems, ...node]);
  await withPartition(loop, 'OEM', async (root) => {
    assert.deepEqual(await readFile(join(root, 'config.ign')), config);
    assert.equal(await readMode(join(root, 'config.ign')), '600 0:0');
    assert.equal(await readFile(join(root, 'grub.cfg'), 'utf8'), grub);
    // The rewritten file system has another UUID than the image's.
    const uuidOf = async (device: string) => (await execa('blkid', ['-p', '-s', 'UUID', '-o', 'value', device])).stdout;
    const oemOfImage = join(directory, 'oem');
    const skip = partitionOffsetBytes('OEM') / 1024 / 1024;
    await execa('dd', [`if=${image}`, `of=${oemOfImage}`, 'bs=1M', `skip=${skip}`, 'count=128', 'status=none']);
    assert.notEqual(await uuidOf(await deviceOf(root)), await uuidOf(oemOfImage));
  });
});

test('editBtrfs() rewrites the partition without the kernel, keeping files with their modes, links and owners', async () => {
  await using loop = await createInstalled();
  {
    await using disk = await openDisk(loop.path);
    const oem = findPartition(await disk.readTable(), 'OEM', loop.path);
    await editBtrfs(disk, oem, async (root) => {
      await chmod(join(root, 'bin/tool'), 0o755);
      await execa('chown', ['12:34', join(root, 'bin/tool')]);
      await symlink('bin/tool', join(root, 'link'));
    });
    await editBtrfs(disk, oem, (root) => writeFile(join(root, 'config.ign'), config, { mode: 0o600 }));
    await disk.sync();
  }
  await withPartition(loop, 'OEM', async (root) => {
    assert.deepEqual(await readFile(join(root, 'config.ign')), config);
    assert.equal(await readMode(join(root, 'config.ign')), '600 0:0');
    assert.equal(await readMode(join(root, 'bin/tool')), '755 12:34');
    assert.equal(await readFile(join(root, 'link'), 'utf8'), '#!/bin/sh\n');
    assert.equal(await readFile(join(root, 'grub.cfg'), 'utf8'), grub);
    assert.equal((await execa('blkid', ['-s', 'LABEL', '-o', 'value', await deviceOf(root)])).stdout, 'OEM');
  });
  // Not a byte outside of the partition has changed.
  const end = partitionOffsetBytes('OEM') + sizeOf('OEM');
  await execa('cmp', ['--bytes', String(partitionOffsetBytes('OEM')), loop.path, image]);
  await execa('cmp', ['--ignore-initial', String(end), loop.path, image]);
});

test('editBtrfs() says that the directory for temporary files is full, and changes nothing', async () => {
  await using loop = await createInstalled();
  await using disk = await openDisk(loop.path);
  const oem = findPartition(await disk.readTable(), 'OEM', loop.path);
  await using mounted = await mountDevice('tmpfs', '-t', 'tmpfs', '-o', 'size=4k');
  using _ = withTemporary(mounted.directory);
  const edit = (root: string) => writeFile(join(root, 'config.ign'), config);
  // The last bytes that fit are of the copy, of the extracted files, or of the new file system.
  for (const sizeKiB of [60, 7900, 8190, 8700]) {
    await execa('mount', ['-o', `remount,size=${sizeKiB}k`, mounted.directory]);
    await assert.rejects(editBtrfs(disk, oem, edit), {
      name: 'ConfigurationError',
      message: new RegExp(`^cannot write temporary files to ${mounted.directory}: .* \\(set TMPDIR`, 's'),
    });
    await execa('cmp', [loop.path, image]);
  }
});

test('refuseOtherDevice() takes only the range of the disk that was asked for', async () => {
  await using loop = await createInstalled();
  await using other = await createLoopDevice({ sizeBytes: 1024 * 1024 });
  const offset = partitionOffsetBytes('OEM');
  await withPartition(loop, 'OEM', async (root) => {
    await refuseOtherDevice(root, loop.path, offset);
    const refused = { name: 'ConfigurationError', message: /: the kernel mounted \/dev\/loop\d+ instead \(unmount/ };
    await assert.rejects(refuseOtherDevice(root, loop.path, offset + 512), refused);
    await assert.rejects(refuseOtherDevice(root, other.path, offset), refused);
  });
});

async function deviceOf(directory: string): Promise<string> {
  return (await execa('findmnt', ['-no', 'SOURCE', directory])).stdout;
}

test('installCloudConfig() writes user_data for root only', async () => {
  await using loop = await createInstalled();
  {
    await using disk = await openDisk(loop.path);
    await installCloudConfig(disk, Buffer.from('#cloud-config\n'));
  }
  await withPartition(loop, 'ROOT', async (root) => {
    const path = join(root, 'var/lib/flatcar-install/user_data');
    assert.equal(await readFile(path, 'utf8'), '#cloud-config\n');
    assert.equal(await readMode(path), '600 0:0');
    assert.equal(await readMode(join(root, 'var/lib/flatcar-install')), '700 0:0');
    assert.equal(await readMode(join(root, 'var/lib')), '755 0:0');
  });
});

test('installNetworkUnits() copies units with directories and what links point to, and replaces nothing', async () => {
  const source = join(directory, 'units');
  await mkdir(join(source, '20-a.network.d'), { recursive: true });
  await writeFile(join(source, '10-kept.network'), 'other\n');
  await writeFile(join(source, '20-a.network'), '[Match]\n', { mode: 0o644 });
  await writeFile(join(source, '20-a.network.d/dns.conf'), '[Network]\n', { mode: 0o640 });
  await symlink('20-a.network', join(source, '30-b.network'));
  await chown(join(source, '20-a.network'), 12, 34);
  await chown(join(source, '20-a.network.d'), 56, 78);
  // As the original: cp DIRECTORY/*
  await writeFile(join(source, '.hidden'), '');
  await writeFile(join(source, '20-a.network.d/.kept'), '');
  await using loop = await createInstalled();
  {
    await using disk = await openDisk(loop.path);
    const names = await installNetworkUnits(disk, source);
    assert.deepEqual(names, [
      ...['10-kept.network', '20-a.network', '20-a.network.d', '20-a.network.d/.kept', '20-a.network.d/dns.conf'],
      '30-b.network',
    ]);
  }
  await withPartition(loop, 'ROOT', async (root) => {
    const units = join(root, 'etc/systemd/network');
    assert.equal(await readFile(join(units, '10-kept.network'), 'utf8'), 'as it was\n');
    assert.equal(await readFile(join(units, '20-a.network'), 'utf8'), '[Match]\n');
    assert.equal(await readMode(join(units, '20-a.network')), '644 12:34');
    assert.equal((await readMode(join(units, '20-a.network.d'))).split(' ')[1], '56:78');
    await assert.rejects(stat(join(units, '.hidden')));
    assert.equal(await readMode(join(units, '20-a.network.d/dns.conf')), '640 0:0');
    assert.equal((await execa('stat', ['-c', '%F', join(units, '30-b.network')])).stdout, 'regular file');
  });
});

test('installNetworkUnits() says so when there are none', async () => {
  await using loop = await createInstalled();
  await using disk = await openDisk(loop.path);
  await assert.rejects(
    installNetworkUnits(disk, join(directory, 'none')),
    /there is no such directory \(install without -n\)/,
  );
  const empty = await mkdtemp(join(directory, 'empty-'));
  await assert.rejects(installNetworkUnits(disk, empty), /it contains no network units/);
});

test('efiEntryArguments() names disk, partition, loader and label as the original does', () => {
  assert.deepEqual(efiEntryArguments('/dev/sda', 1, { board: 'amd64-usr', channel: 'stable' }), [
    '--create',
    '--disk',
    '/dev/sda',
    '--part',
    '1',
    '--loader',
    '\\efi\\boot\\bootx64.efi',
    '--label',
    'Flatcar Container Linux stable',
  ]);
  assert.ok(
    efiEntryArguments('/dev/sda', 1, { board: 'arm64-usr', channel: 'lts' }).includes('\\efi\\boot\\bootaa64.efi'),
  );
});

const system = '3b1f5e66-1111-4222-8333-0123456789ab';

test('parseEfiEntries() reads what versions of efibootmgr print', () => {
  // Versions 17 and 18 of efibootmgr.
  for (const file of ['/File(\\efi\\boot\\bootx64.efi)', '/\\efi\\boot\\bootx64.efi']) {
    const text = [
      ...['BootCurrent: 0003', 'Timeout: 0 seconds', 'BootOrder: 0003,0001,000a'],
      `Boot0001* Flatcar Container Linux stable\tHD(1,GPT,${system.toUpperCase()},0x1000,0x40000)${file}`,
      'Boot0003* UEFI PXEv4 (MAC:525400000001)\tPciRoot(0x0)/Pci(0x3,0x0)/MAC(525400000001,1)/IPv4(0.0.0.0)',
      'Boot000A  debian',
    ].join('\n');
    assert.deepEqual(parseEfiEntries(text), {
      order: ['0003', '0001', '000A'],
      entries: [
        { number: '0001', label: 'Flatcar Container Linux stable', partitionGuid: system },
        { number: '0003', label: 'UEFI PXEv4 (MAC:525400000001)', partitionGuid: undefined },
        { number: '000A', label: 'debian', partitionGuid: undefined },
      ],
    });
  }
  assert.deepEqual(parseEfiEntries('BootCurrent: 0000\n'), { order: [], entries: [] });
});

test('replaceInOrder() puts the new entry in the place of the first that it replaces, or first', () => {
  const order = ['0001', '0002', '0003', '0004'];
  assert.deepEqual(replaceInOrder(order, ['0002', '0004'], '0009'), ['0001', '0009', '0003']);
  assert.deepEqual(replaceInOrder(['0001', '0002'], ['0007'], '0009'), ['0009', '0001', '0002']);
  assert.deepEqual(replaceInOrder([], [], '0009'), ['0009']);
});

const release = { board: 'amd64-usr', channel: 'stable' };
const none = { former: new Set<string>(), others: new Set<string>() };

test('createEfiEntry() says so when the disk has no EFI partition', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 4 * 1024 * 1024 });
  await using disk = await openDisk(loop.path);
  await assert.rejects(createEfiEntry(disk, release, none), /it has no GPT/);
});
