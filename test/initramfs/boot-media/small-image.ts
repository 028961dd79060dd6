import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { BootImage } from '../../../initramfs/boot-media/boot-image.ts';

export const build = resolve(import.meta.dirname, '../../../build');

/** A boot image with the built kernel, and an initramfs that is no more than text. */
export async function makeSmallImage(directory: string): Promise<BootImage> {
  const initramfs = join(directory, 'initramfs-x86_64');
  await writeFile(initramfs, 'the initramfs\n');
  return {
    machine: 'x86_64',
    kernel: join(build, 'vmlinuz-x86_64'),
    initramfs,
    kernelVersion: '6.12.0-test',
    sha256: { kernel: '0123456789abcdef'.repeat(4), initramfs: 'fedcba9876543210'.repeat(4) },
    timeSeconds: 1_700_000_000,
  };
}
