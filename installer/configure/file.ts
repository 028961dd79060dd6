import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

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
