import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Programs that flatcar-install runs. Everything else that it needs is in busybox. */
export const installerTools = [
  ...['lsblk', 'blkid', 'blockdev', 'wipefs', 'fallocate', 'partx', 'losetup', 'mount', 'umount', 'findmnt', 'flock'],
  ...['btrfs', 'btrfstune', 'mkfs.btrfs', 'efibootmgr', 'udevadm', 'xz', 'kpartx'],
];

/**
 * A program in unpacked packages: Debian installs into four directories.
 * @returns its path
 * @throws {Error} no package has it
 */
export function findProgram(unpacked: string, program: string): string {
  const paths = ['usr/sbin', 'usr/bin', 'sbin', 'bin'].map((directory) => join(unpacked, directory, program));
  const path = paths.find(existsSync);
  if (path !== undefined) return path;
  throw new Error(`no package has ${program}; add its package to initramfs/package-sets.ts`);
}
