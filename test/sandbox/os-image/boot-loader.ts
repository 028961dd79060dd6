import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';

const sectorBytes = 512;

/** Modules of both GRUBs: everything that grub.cfg uses is inside, nothing is loaded from disk. */
const grubModules = ['part_gpt', 'fat', 'btrfs', 'normal', 'linux', 'configfile', 'echo', 'regexp', 'test'];

/**
 * Makes GRUB's image for UEFI machines; it looks for /grub/grub.cfg on the partition it was started
 * from.
 */
export async function makeUefiGrub(file: string, signal: AbortSignal): Promise<void> {
  const modules = [...grubModules, 'search', 'efi_gop', 'all_video'];
  await execa('grub-mkimage', ['-O', 'x86_64-efi', '-p', '/grub', '-o', file, ...modules], { cancelSignal: signal });
}

/**
 * Puts GRUB for BIOS machines into a disk image: its first sector into the boot code of the MBR,
 * the rest into the partition BIOS-BOOT. What `grub-bios-setup` does on a device, done on the file;
 * offsets from GRUB's include/grub/i386/pc/boot.h and include/grub/offsets.h.
 */
export async function embedBiosGrub(
  image: string,
  biosBoot: { readonly offsetBytes: number; readonly sizeBytes: number },
  directory: string,
  signal: AbortSignal,
): Promise<void> {
  const coreFile = join(directory, 'core.img');
  await execa('grub-mkimage', ['-O', 'i386-pc', '-p', '(,gpt1)/grub', '-o', coreFile, 'biosdisk', ...grubModules], {
    cancelSignal: signal,
  });
  const core = await readFile(coreFile);
  if (core.length > biosBoot.sizeBytes) throw new Error(`GRUB's core (${core.length} bytes) does not fit BIOS-BOOT`);
  const coreSector = BigInt(biosBoot.offsetBytes / sectorBytes);
  // The core's first sector loads the others: its list of blocks ends the sector and begins with
  // their place.
  core.writeBigUInt64LE(coreSector + 1n, sectorBytes - 12);

  const boot = (await readFile('/usr/lib/grub/i386-pc/boot.img')).subarray(0, 440); // then: disk signature and MBR table
  boot.writeBigUInt64LE(coreSector, 0x5c);
  boot.writeUInt16LE(0x9090, 0x66); // do not distrust the drive number of a BIOS that says "hard disk"

  await using file = await open(image, 'r+');
  await file.write(boot, 0, boot.length, 0);
  await file.write(core, 0, core.length, biosBoot.offsetBytes);
}
