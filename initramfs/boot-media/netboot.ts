import { copyFile, link, mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { BootImage } from './boot-image.ts';
import type { BootLoaders } from './boot-loaders.ts';
import { type BuiltInArguments, networkConfig } from './grub-config.ts';

/**
 * Writes a directory for a TFTP or HTTP server, from which UEFI machines start by network, also
 * with Secure Boot on: the firmware loads the shim, the shim GRUB beside it, GRUB `grub/grub.cfg`,
 * kernel and initramfs.
 *
 * @param directory does not exist yet; on the file system of the boot image, which is linked
 */
export async function writeNetboot(
  directory: string,
  image: BootImage,
  builtIn: BuiltInArguments,
  { efiName, shim, networkGrub }: BootLoaders,
): Promise<void> {
  await mkdir(join(directory, 'grub'), { recursive: true });
  // Both names are usual in the configurations of DHCP servers.
  for (const name of [`shim${efiName}.efi`, `boot${efiName}.efi`]) await copyFile(shim, join(directory, name));
  await copyFile(networkGrub, join(directory, `grub${efiName}.efi`));
  await writeFile(join(directory, 'grub/grub.cfg'), networkConfig(image, builtIn));
  for (const file of [image.kernel, image.initramfs]) await link(file, join(directory, basename(file)));
}
