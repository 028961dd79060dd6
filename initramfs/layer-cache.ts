import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join, resolve } from 'node:path';

const cache = resolve(import.meta.dirname, '../build/cache');

/**
 * The packed form of a layer, from build/cache or packed now. Several builds may call it at the
 * same time.
 * @param key of everything that the bytes depend on, in hexadecimal
 * @param pack writes the layer to a path
 * @returns path of the packed layer; the file must not be changed
 */
export async function packedLayer(name: string, key: string, pack: (path: string) => Promise<void>): Promise<string> {
  await mkdir(cache, { recursive: true });
  const packed = join(cache, `layer-${name}-${key.slice(0, 16)}`);
  if (existsSync(packed)) {
    const { mtime } = await stat(packed);
    await utimes(packed, new Date(), mtime);
    return packed;
  }
  process.stderr.write(`packing layer ${name}\n`);
  const unfinished = `${packed}.${process.pid}`;
  try {
    await pack(unfinished);
    await rename(unfinished, packed);
  } finally {
    await rm(unfinished, { force: true });
  }
  return packed;
}

/**
 * Removes layers that no build has used for a day: each change of the executable leaves some
 * behind.
 */
export async function forgetOldLayers(): Promise<void> {
  for (const name of (await readdir(cache)).filter((one) => one.startsWith('layer-'))) {
    const { atimeMs } = await stat(join(cache, name));
    if (Date.now() - atimeMs > 86_400_000) await rm(join(cache, name), { force: true });
  }
}
