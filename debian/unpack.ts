import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';

/**
 * Unpacks packages into the empty `directory` without running their scripts. /bin, /sbin, /lib and
 * /lib64 are links: packages of Debian 12 have files there and in /usr, those of Debian 13 only in
 * /usr.
 * @param pathsLeftOut paths to leave out, as `./usr/share/doc`
 */
export async function unpackPackages(
  files: Iterable<string>,
  directory: string,
  pathsLeftOut: readonly string[] = [],
  signal: AbortSignal = new AbortController().signal,
): Promise<void> {
  await linkToUsr(directory);
  const exclusions = pathsLeftOut.map((path) => `--exclude=${path}`);
  for (const file of files) {
    await execa('dpkg-deb', ['--fsys-tarfile', file], { cancelSignal: signal, buffer: false }).pipe(
      'tar',
      ['--extract', '--directory', directory, '--keep-directory-symlink', '--same-owner', ...exclusions],
      { cancelSignal: signal },
    );
  }
}

/**
 * Unpacks packages into `directory`, unless it exists. Several processes may do so at the same time.
 * @param finish what makes the directory complete
 */
export async function unpackOnce(
  files: Iterable<string>,
  directory: string,
  finish: (unfinished: string) => Promise<void> = async () => {},
): Promise<void> {
  if (existsSync(directory)) return;
  const unfinished = await mkdtemp(`${directory}-`);
  try {
    await unpackPackages(files, unfinished);
    await finish(unfinished);
    await rename(unfinished, directory);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    // Another process has finished first, with the same result.
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
  }
}

/** Makes /bin, /sbin, /lib and /lib64 links to the directories of these names in /usr. */
export async function linkToUsr(directory: string): Promise<void> {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    await mkdir(join(directory, 'usr', name), { recursive: true });
    await symlink(`usr/${name}`, join(directory, name));
  }
}
