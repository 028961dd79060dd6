import { lstat, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { codeOf } from '../disk/in-use.ts';
import { ConfigurationError } from './errors.ts';

/**
 * Makes those of these directories that are missing. A link of the image is not followed: it would
 * lead to a directory of the machine that runs this program.
 * @param root top directory of a mounted partition
 * @param path of the innermost one below it
 * @returns the whole path
 * @throws {ConfigurationError} something else is there; {Error} of the system
 */
export async function makeDirectories(root: string, path: string, mode: number): Promise<string> {
  let directory = root;
  for (const name of path.split('/')) {
    directory = join(directory, name);
    await mkdir(directory, { mode }).catch((error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error;
    });
    requireDirectory((await lstat(directory)).isDirectory(), path);
  }
  return directory;
}

/** @throws {ConfigurationError} it is none */
export function requireDirectory(isDirectory: boolean, path: string): void {
  if (isDirectory) return;
  const why = 'in the image, it or a directory around it is a link or a file';
  throw new ConfigurationError({ what: 'write to', target: path, why, hint: 'check the image' });
}

/** As `writeFileWhole`, readable by root only. */
export async function writeSecretFile(path: string, bytes: Uint8Array): Promise<void> {
  await writeFileWhole(path, bytes, 0o600);
}

/**
 * Writes a file, owned by root, completely or not at all, and returns when it and its name are on
 * the disk.
 * @throws {Error} of the system; no file is left then
 */
export async function writeFileWhole(path: string, bytes: Uint8Array, mode: number): Promise<void> {
  const temporary = `${path}.new`;
  try {
    await rm(temporary, { force: true });
    await using file = await open(temporary, 'wx', 0o600);
    await file.writeFile(bytes);
    await file.chmod(mode);
    // Without root, the files of a user are root's in the file system that is made of them.
    if (process.getuid?.() === 0) await file.chown(0, 0);
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await using directory = await open(dirname(path), 'r');
  await directory.sync();
}
