import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DebianArchitecture, Package } from '../../debian/package.ts';
import { fingerprint, selectPackages } from '../../debian/select.ts';
import { unpackOnce } from '../../debian/unpack.ts';
import { bootLoaderPackages, productLock } from '../package-sets.ts';

/** Paths of the boot loaders of one architecture. */
export interface BootLoaders {
  /** UEFI's name of the architecture, as in the file names `shimx64.efi` and `BOOTX64.EFI`. */
  readonly efiName: 'x64' | 'aa64';
  /** Debian's shim, signed by Microsoft: firmware with Secure Boot starts it with its own keys. */
  readonly shim: string;
  /** GRUB for CDs and USB sticks, signed by Debian: the shim starts it. Looks for /boot/grub. */
  readonly diskGrub: string;
  /** The same for network boot. Reads /grub/grub.cfg of the server that it came from. */
  readonly networkGrub: string;
  /** The directory of GRUB's parts for BIOS machines; undefined: there are no such machines. */
  readonly biosGrub: string | undefined;
  /** What starts the kernel of a unified kernel image. */
  readonly uefiStub: string;
  /** Debian's packages that they are from. */
  readonly packages: readonly Package[];
}

/**
 * Fetches the boot loaders and unpacks them into `cache`, unless they are there.
 * @throws {Error} no mirror has a package
 */
export async function fetchBootLoaders(cache: string, architecture: DebianArchitecture): Promise<BootLoaders> {
  await mkdir(cache, { recursive: true });
  const selection = await selectPackages(bootLoaderPackages(architecture), { lockFile: productLock, architecture });
  const root = join(cache, `boot-loaders-${fingerprint(selection.packages).slice(0, 16)}`);
  await unpackOnce(selection.files.values(), root);
  const efiName = architecture === 'amd64' ? 'x64' : 'aa64';
  const signedGrub = join(root, 'usr/lib/grub', architecture === 'amd64' ? 'x86_64-efi-signed' : 'arm64-efi-signed');
  return {
    efiName,
    shim: join(root, `usr/lib/shim/shim${efiName}.efi.signed`),
    diskGrub: join(signedGrub, `gcd${efiName}.efi.signed`),
    networkGrub: join(signedGrub, `grubnet${efiName}.efi.signed`),
    biosGrub: architecture === 'amd64' ? join(root, 'usr/lib/grub/i386-pc') : undefined,
    uefiStub: join(root, `usr/lib/systemd/boot/efi/linux${efiName}.efi.stub`),
    packages: selection.packages,
  };
}
