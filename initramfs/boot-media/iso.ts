import { link, mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { BootImage } from './boot-image.ts';
import type { BootLoaders } from './boot-loaders.ts';
import { type EfiFile, writeEfiPartition } from './efi-partition.ts';
import { type BuiltInArguments, diskConfig, searchConfig, startConfig } from './grub-config.ts';
import type { MediaTools } from './media-tools.ts';

/** What GRUB for BIOS machines needs; its other parts stay out of the image. */
const biosModules = [
  ...['biosdisk', 'iso9660', 'part_msdos', 'part_gpt', 'search', 'search_fs_file'],
  ...['normal', 'configfile', 'linux', 'regexp', 'test', 'echo', 'ls', 'cat', 'reboot', 'halt'],
];

/**
 * GUID of a partition with data (UEFI specification, "Microsoft Basic Data"), as xorriso takes it.
 */
const dataPartition = 'a2a0d0ebe5b9334487c068b6b72699c7';

const efiSystemPartition = '28732ac11ff8d211ba4b00a0c93ec93b';

/**
 * Writes an ISO image that machines start from a CD drive, also one of a BMC, and from a USB stick,
 * with BIOS and with UEFI. UEFI starts Debian's shim and GRUB, which are signed, so that Secure
 * Boot may be on. GRUB and the boot image are in the ISO file system; the EFI system partition has
 * only what the firmware starts.
 *
 * @param path of the image
 * @param scratch an empty directory on the same file system as the boot image
 */
export async function writeIso(
  path: string,
  image: BootImage,
  builtIn: BuiltInArguments,
  loaders: BootLoaders,
  scratch: string,
  tools: MediaTools,
): Promise<void> {
  const { machine, timeSeconds, sha256 } = image;
  const marker = `/nibs-${sha256.kernel.slice(0, 16)}-${sha256.initramfs.slice(0, 16)}`;
  const files = join(scratch, 'files');
  await writeFiles(files, {
    [marker]: '',
    // GRUB looks for it if it finds no configuration beside itself.
    '/.disk/info': `nibs boot image for ${machine}\n`,
    '/boot/grub/grub.cfg': diskConfig,
    '/boot/grub/start.cfg': startConfig(image, builtIn),
  });
  for (const file of [image.kernel, image.initramfs]) await link(file, join(files, 'boot', basename(file)));
  const partition = join(scratch, 'efi.img');
  const efiFiles = await readEfiFiles(loaders, searchConfig(marker));
  await writeEfiPartition(efiFiles, partition, join(scratch, 'efi'), timeSeconds, tools);
  const bios = loaders.biosGrub === undefined ? [] : await biosOptions(loaders.biosGrub, files, tools);
  await tools.run(
    'xorriso',
    [
      ...[
        '-no_rc',
        '-as',
        'mkisofs',
        '-quiet',
        '-o',
        path,
        '-V',
        'NIBS',
        '-iso-level',
        '3',
        '-r',
        '-J',
        '-joliet-long',
      ],
      ...['--set_all_file_dates', `=${timeSeconds}`, '-no-pad'],
      ...['-partition_offset', '16', '-iso_mbr_part_type', dataPartition],
      ...['-append_partition', '2', efiSystemPartition, partition, '-appended_part_as_gpt'],
      ...['-c', '/boot/boot.cat', ...bios, ...(bios.length > 0 ? ['-eltorito-alt-boot'] : [])],
      ...['-e', '--interval:appended_partition_2:all::', '-no-emul-boot'],
      files,
    ],
    { environment: { SOURCE_DATE_EPOCH: String(timeSeconds), TZ: 'UTC' }, timeoutSeconds: Number.POSITIVE_INFINITY },
  );
}

async function readEfiFiles({ efiName, shim, diskGrub }: BootLoaders, config: string): Promise<EfiFile[]> {
  return [
    { path: `EFI/BOOT/BOOT${efiName.toUpperCase()}.EFI`, content: await readFile(shim) },
    { path: `EFI/BOOT/grub${efiName}.efi`, content: await readFile(diskGrub) },
    { path: 'boot/grub/grub.cfg', content: Buffer.from(config) },
  ];
}

/** Makes GRUB for BIOS machines; the CD drive and the first sector of the USB stick start it. */
async function biosOptions(grub: string, files: string, tools: MediaTools): Promise<string[]> {
  const core = join(files, 'boot/grub/bios.img');
  const options = ['--directory', grub, '--format', 'i386-pc-eltorito', '--prefix', '/boot/grub', '--output', core];
  await tools.run('grub-mkimage', [...options, ...biosModules]);
  const startedFromCd = ['-b', '/boot/grub/bios.img', '-no-emul-boot', '-boot-load-size', '4', '-boot-info-table'];
  return ['--grub2-mbr', join(grub, 'boot_hybrid.img'), ...startedFromCd, '--grub2-boot-info'];
}

async function writeFiles(directory: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), content);
  }
}
