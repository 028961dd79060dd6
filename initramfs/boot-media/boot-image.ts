import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

/** A built boot image. */
export interface BootImage {
  /** The name of its architecture in the names of the files: `x86_64`. */
  readonly machine: string;
  /** Paths. */
  readonly kernel: string;
  readonly initramfs: string;
  /** As in lib/modules/<version>. */
  readonly kernelVersion: string;
  /** SHA-256 of both files, in hexadecimal. */
  readonly sha256: { readonly kernel: string; readonly initramfs: string };
  /** Seconds since 1970: what is made from the image has this time. */
  readonly timeSeconds: number;
}

const Manifest = z.object({
  kernel: z.object({ version: z.string(), sha256: z.string() }),
  initramfs: z.object({ sha256: z.string() }),
  timeSeconds: z.int(),
});

/**
 * Finds the boot image that initramfs/build.ts has written.
 * @throws {Error} it is not in the directory
 */
export async function findBootImage(directory: string, machine: string): Promise<BootImage> {
  const initramfs = join(directory, `initramfs-${machine}`);
  const text = await readFile(`${initramfs}.manifest.json`, 'utf8').catch((error: unknown) => {
    throw new Error(`no boot image for ${machine} in ${directory} (run make initramfs)`, { cause: error });
  });
  const manifest = Manifest.parse(JSON.parse(text));
  return {
    machine,
    kernel: join(directory, `vmlinuz-${machine}`),
    initramfs,
    kernelVersion: manifest.kernel.version,
    sha256: { kernel: manifest.kernel.sha256, initramfs: manifest.initramfs.sha256 },
    timeSeconds: manifest.timeSeconds,
  };
}
