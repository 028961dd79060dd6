/** The initramfs of the machines of `make test-disks`. */
import { chmod, copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { execa } from 'execa';
import { architectureOf } from '../../debian/architecture.ts';
import { fetchSystem } from '../../initramfs/system.ts';
import { makeFlatcarImage } from '../sandbox/flatcar-layout.ts';
import { compress } from '../sandbox/signed-release.ts';

const build = resolve(import.meta.dirname, '../../build');

const programs = [
  ...['mdadm', 'lvm', 'cryptsetup', 'make-bcache', 'dmsetup', 'losetup', 'mount', 'umount', 'sfdisk', 'mke2fs'],
  ...['mkswap', 'swapon', 'lsblk', 'blkid', 'wipefs', 'fallocate', 'partx', 'unshare', 'blockdev', 'dash'],
  'efibootmgr',
];
const modules = [
  ...[
    'virtio_pci',
    'virtio_blk',
    'virtio_net',
    'virtio_scsi',
    'sd_mod',
    'ahci',
    'nvme',
    'xhci_pci',
    'usb_storage',
    'sdhci_pci',
  ],
  ...['mmc_block', 'loop', 'ext4', 'btrfs', 'dm_mod', 'dm_crypt', 'dm_multipath', 'dm_service_time', 'raid1'],
  ...['bcache', 'xts', 'aes_generic', 'algif_skcipher', 'efivarfs'],
];

/**
 * Tools of this machine with their libraries, modules of the boot image, the executable under its
 * names.
 */
export async function makeInitramfs(directory: string): Promise<string> {
  const root = join(directory, 'root');
  await mkdir(join(root, 'bin'), { recursive: true });
  const paths = await Promise.all(programs.map(findProgram));
  const executable = join(build, 'nibs-linux-x64');
  for (const path of paths) await place(path, join(root, 'usr/bin', basename(path)));
  for (const name of ['pvcreate', 'pvs', 'vgcreate', 'lvcreate'])
    await execa('ln', ['-s', 'lvm', join(root, 'usr/bin', name)]);
  await place(executable, join(root, 'usr/bin/flatcar-install'));
  for (const name of ['image2disk', 'oci2disk', 'qemuimg2disk'])
    await execa('ln', ['-s', 'flatcar-install', join(root, 'usr/bin', name)]);
  await place('/bin/busybox', join(root, 'bin/busybox'));
  // Not busybox: that runs its own programs of these names.
  await execa('ln', ['-s', '/usr/bin/dash', join(root, 'bin/sh')]);
  for (const path of await librariesOf([...paths, executable])) await place(path, join(root, path));
  await makeFlatcarImage({ path: join(root, 'image.bin') });
  await compress(join(root, 'image.bin'));
  await rm(join(root, 'image.bin'));
  await place(join(import.meta.dirname, 'guest.sh'), join(root, 'init'));
  await chmod(join(root, 'init'), 0o755);
  for (const part of ['boot-entries.sh', 'power-cuts.sh'])
    await place(join(import.meta.dirname, part), join(root, part));
  await writeFile(join(root, 'modules'), `${(await placeModules(root)).join('\n')}\n`);
  const path = join(directory, 'initramfs');
  await execa('sh', ['-c', `cd ${root} && find . | cpio --quiet --create --format=newc >${path}`]);
  await rm(root, { recursive: true });
  return path;
}

async function findProgram(name: string): Promise<string> {
  const { stdout } = await execa('sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin command -v ${name}`]);
  return stdout;
}

async function place(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await copyFile(from, to);
}

async function librariesOf(files: readonly string[]): Promise<Set<string>> {
  const { stdout } = await execa('ldd', files, { reject: false });
  const found = [...stdout.matchAll(/(\/\S+\.so\S*) \(0x/g)].map(([, path = '']) => path);
  // The executable loads it by its name.
  const gcc = (await readFile('/etc/ld.so.cache')).toString('latin1').match(/\/lib\/[\w-]+\/libgcc_s\.so\.1/)?.[0];
  return new Set([...found, ...(gcc === undefined ? [] : [gcc])]);
}

/** @returns their paths in the machine, in the order in which they are loaded */
async function placeModules(root: string): Promise<string[]> {
  const system = await fetchSystem(join(build, 'cache'), { architecture: architectureOf('x86_64') });
  const base = join(system.packages, 'usr');
  const placed = new Set<string>();
  for (const name of modules) {
    const args = ['-d', base, '-S', system.kernelVersion, '--show-depends', name];
    const { stdout } = await execa('/sbin/modprobe', args);
    for (const [, path = ''] of stdout.matchAll(/^insmod (\S+)/gm)) {
      const target = `/${relative(base, path)}`.replace(/\.xz$/, '');
      if (placed.has(target)) continue;
      placed.add(target);
      await mkdir(dirname(join(root, target)), { recursive: true });
      if (path.endsWith('.xz')) await execa('sh', ['-c', `xz --decompress --stdout ${path} >${join(root, target)}`]);
      else await copyFile(path, join(root, target));
    }
  }
  return [...placed];
}
