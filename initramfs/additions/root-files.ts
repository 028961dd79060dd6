import { lstat, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { OperationError } from '../../errors/operation-error.ts';
import { reasonOf } from '../../errors/reason.ts';
import type { Tree } from '../tree.ts';

/** Where the initramfs has the files that become the uppermost layer of the root. */
export const filesDirectory = 'site/files';

/** Directories that are links in the image, and what they are links to (layers.ts). */
const linkedDirectories: readonly (readonly [from: string, to: string])[] = [
  ...([['usr/bin', 'bin'] as const, ['usr/sbin', 'bin'] as const, ['usr/lib', 'lib'] as const] as const),
  ['sbin', 'bin'],
  ['var/run', 'run'],
];

/** Where the machine mounts another file system, which is empty at its start. */
const mountPoints = ['proc', 'sys', 'dev', 'run', 'var/lib/docker', 'site'];

/**
 * The path in the image of a file that packages and people know by another one: `usr/sbin/x` is
 * `bin/x`.
 */
export function pathInImage(path: string): string {
  const link = linkedDirectories.find(([from]) => path === from || path.startsWith(`${from}/`));
  return link === undefined ? path : `${link[1]}${path.slice(link[0].length)}`;
}

/**
 * Adds the files below a directory to the root of the image, with their modes; they are owned by
 * root.
 * @param isLeftOut of a path below the directory. Default: nothing is
 * @throws {OperationError} it is no directory, or has what the machine would not see
 */
export async function addRootFiles(
  tree: Tree,
  directory: string,
  isLeftOut: (path: string) => boolean = () => false,
): Promise<void> {
  const refused = (target: string, why: string, cause?: unknown) =>
    new OperationError({ what: 'use', target, why, hint: 'give FILES= a directory of files for the root', cause });
  const status = await stat(directory).catch((cause: unknown) => {
    throw refused(directory, reasonOf(cause), cause);
  });
  if (!status.isDirectory()) throw refused(directory, 'it is no directory');
  await add(directory, '');

  async function add(source: string, name: string): Promise<void> {
    if (isLeftOut(name)) return;
    const path = pathInImage(name);
    const mountPoint = mountPoints.find((one) => path.startsWith(`${one}/`));
    if (mountPoint !== undefined) throw refused(source, `the machine mounts a file system at /${mountPoint}`);
    const { mode, ...kind } = await lstatOf(source);
    if (kind.isDirectory) {
      if (path !== '' && !isLinked(name) && !tree.has(posix.join(filesDirectory, path)))
        tree.directory(posix.join(filesDirectory, path), mode);
      for (const child of (await readdir(source)).sort()) await add(join(source, child), posix.join(name, child));
    } else if (kind.isLink) {
      tree.link(posix.join(filesDirectory, path), await readlink(source));
    } else if (kind.isFile) {
      tree.file(posix.join(filesDirectory, path), await readFile(source), mode);
    } else {
      throw refused(source, 'it is neither a file nor a directory nor a link');
    }
  }
}

/** Whether the image has a link in place of this directory. */
function isLinked(path: string): boolean {
  return linkedDirectories.some(([from]) => from === path);
}

async function lstatOf(path: string) {
  const status = await lstat(path);
  return {
    mode: status.mode & 0o7777,
    isDirectory: status.isDirectory(),
    isLink: status.isSymbolicLink(),
    isFile: status.isFile(),
  };
}
