import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

/**
 * Writes SHA256SUMS in the form that `sha256sum --check` reads: of `names`, and of the files that
 * it had before and that are there, for example those of another architecture.
 * @param names of files in the directory
 */
export async function writeChecksums(directory: string, names: readonly string[]): Promise<void> {
  const path = join(directory, 'SHA256SUMS');
  const before = existsSync(path) ? await readFile(path, 'utf8') : '';
  const earlier = [...before.matchAll(/^[0-9a-f]{64} {2}(.+)$/gm)].map(([, name = '']) => name);
  const present = earlier.filter((name) => existsSync(join(directory, name)));
  const all = [...new Set([...names, ...present])].sort();
  const lines = await Promise.all(
    all.map(async (name) => `${await fileDigest(join(directory, name), 'sha256')}  ${name}\n`),
  );
  await writeWhole(path, lines.join(''));
}

/** Writes under another name and renames, so that a server never serves half a file. */
export async function writeWhole(path: string, content: Uint8Array | string): Promise<void> {
  await writeFile(`${path}.unfinished`, content);
  await rename(`${path}.unfinished`, path);
}

/** @returns in hexadecimal */
export async function fileDigest(path: string, algorithm: 'sha256' | 'sha1'): Promise<string> {
  const hash = createHash(algorithm);
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
