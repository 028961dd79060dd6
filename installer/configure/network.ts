import { chmod, chown, constants, copyFile, lstat, mkdir, readdir, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../errors/reason.ts';
import { runTool } from '../../tools/run-tool.ts';
import { codeOf } from '../disk/in-use.ts';
import type { TargetDisk } from '../disk/target-disk.ts';
import { ConfigurationError } from './errors.ts';
import { makeDirectories, requireDirectory } from './file.ts';
import { editPartition } from './partition.ts';

/** Directory of the network units of the running system. */
const runtimeUnits = '/run/systemd/network';
/** Theirs on the ROOT partition. */
const unitDirectory = 'etc/systemd/network';

/** Files and directories to copy. */
export interface NetworkUnits {
  /** Paths in the directory of the units; a directory comes before what is in it. */
  readonly paths: readonly string[];
  readonly sizeBytes: number;
}

/**
 * Copies the network units of the running system to `etc/systemd/network` on the ROOT partition of
 * this disk: with directories, following links, keeping owners, modes and times, without replacing
 * existing files. As by the original, what has a leading dot is left out, but for what is in
 * directories.
 * @param source directory of the units. Default: `/run/systemd/network`
 * @returns the paths in it
 * @throws {ConfigurationError} there are none, or they cannot be written; {DiskError} the disk has
 *   no ROOT partition
 */
export async function installNetworkUnits(
  disk: TargetDisk,
  source: string = runtimeUnits,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const { paths } = await listNetworkUnits(source);
  const copy = async (root: string) => {
    await runTool('sync', ['-f', await copyNetworkUnits(source, paths, root)]);
  };
  await editPartition(disk, 'ROOT', copy, signal);
  return paths;
}

/**
 * @param source directory of the units
 * @param paths in it, as of {@link listNetworkUnits}
 * @param root top directory of the ROOT partition
 * @returns the directory with the copies
 */
export async function copyNetworkUnits(source: string, paths: readonly string[], root: string): Promise<string> {
  const directory = await makeDirectories(root, unitDirectory, 0o755);
  for (const path of paths) await copyOne(join(source, path), join(directory, path), join(unitDirectory, path));
  return directory;
}

async function copyOne(source: string, target: string, name: string): Promise<void> {
  const { mode, uid, gid, atime, mtime, isDirectory } = await inspectUnit(source);
  // A link is there too, wherever it leads.
  const found = await lstat(target).catch((error: unknown) => {
    if (codeOf(error) !== 'ENOENT') throw error;
  });
  if (found !== undefined && isDirectory) requireDirectory(found.isDirectory(), name);
  if (found !== undefined) return;
  if (isDirectory) await mkdir(target);
  else await copyFile(source, target, constants.COPYFILE_EXCL);
  await chown(target, uid, gid);
  await chmod(target, mode);
  await utimes(target, atime, mtime);
}

/**
 * What is to be copied, each checked: a link that leads nowhere or a pipe would show only at the
 * end.
 * @throws {ConfigurationError} there is nothing, or something that cannot be copied
 */
export async function listNetworkUnits(source: string = runtimeUnits): Promise<NetworkUnits> {
  const refuse = (why: string, cause?: unknown) =>
    new ConfigurationError({ what: 'copy', target: source, why, hint: 'install without -n', cause });
  const paths: string[] = [];
  let sizeBytes = 0;
  const walk = async (directory: string) => {
    for (const name of (await readdir(join(source, directory))).toSorted()) {
      if (directory === '' && name.startsWith('.')) continue;
      const path = join(directory, name);
      const unit = await inspectUnit(join(source, path));
      paths.push(path);
      sizeBytes += unit.sizeBytes;
      if (unit.isDirectory) await walk(path);
    }
  };
  try {
    await walk('');
  } catch (error) {
    if (error instanceof ConfigurationError) throw error;
    throw refuse(codeOf(error) === 'ENOENT' ? 'there is no such directory' : reasonOf(error), error);
  }
  if (paths.length > 0) return { paths, sizeBytes };
  throw refuse('it contains no network units');
}

interface Unit {
  readonly isDirectory: boolean;
  readonly sizeBytes: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly atime: Date;
  readonly mtime: Date;
}

async function inspectUnit(path: string): Promise<Unit> {
  const refuse = (why: string, cause?: unknown) =>
    new ConfigurationError({ what: 'copy', target: path, why, hint: 'remove it, or install without -n', cause });
  const found = await stat(path).catch((cause: unknown) => {
    throw refuse(codeOf(cause) === 'ENOENT' ? 'the link leads nowhere' : reasonOf(cause), cause);
  });
  if (!found.isFile() && !found.isDirectory()) throw refuse('it is neither a file nor a directory');
  const { size: sizeBytes, mode, uid, gid, atime, mtime } = found;
  return { isDirectory: found.isDirectory(), sizeBytes, mode: mode & 0o7777, uid, gid, atime, mtime };
}
