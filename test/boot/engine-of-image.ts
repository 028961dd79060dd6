import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { z } from 'zod';
import { engines } from '../../initramfs/package-sets.ts';

const manifest = resolve(import.meta.dirname, '../../build/initramfs-x86_64.manifest.json');

/** The container engine of the boot image that has been built. */
export async function engineOfImage() {
  return z.object({ engine: z.enum(engines) }).parse(JSON.parse(await readFile(manifest, 'utf8'))).engine;
}
