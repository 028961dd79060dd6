import { lstat, mkdir, mkdtemp, readFile, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { runTool } from './run-tool.ts';

/**
 * Options for a file system that others have filled: programs in it do not run, nor with the rights
 * of another user, and its devices are none.
 */
export const harmlessMount = ['nosuid', 'nodev', 'noexec'] as const;

/** The directory to mount on; the one around it is closed for all others. */
const inside = 'mounted';

/** A directory to mount a file system on. Disposing of it removes it; it is unmounted before. */
export interface MountDirectory extends AsyncDisposable {
  readonly path: string;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Makes a directory in the one for temporary files that only this user can reach: the root of the
 * file system that is mounted on it may let everybody in.
 * @param prefix of its name, which also has the number of this process
 */
export async function makeMountDirectory(prefix: string): Promise<MountDirectory> {
  const outside = await mkdtemp(join(tmpdir(), `${prefix}-${process.pid}-`));
  const path = join(outside, inside);
  await mkdir(path, { mode: 0o700 });
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rmdir(path);
      await rmdir(outside);
    },
  };
}

/**
 * Unmounts what processes that were killed have left mounted on such directories, and removes
 * these.
 *
 * @param prefix as for {@link makeMountDirectory}
 * @returns what had been mounted: paths of devices, or words for other file systems
 * @throws {ToolError} something cannot be unmounted
 */
export async function sweepMounts(prefix: string): Promise<readonly string[]> {
  const sources: string[] = [];
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').map((line) => line.split(' '));
  for (const fields of mounts.toReversed()) {
    const path = fields[4] ?? '';
    const outside = dirname(path);
    if (basename(path) !== inside || dirname(outside) !== tmpdir() || !(await isLeft(outside, prefix))) continue;
    await runTool('umount', ['--recursive', path]);
    await rmdir(path);
    await rmdir(outside);
    sources.push(fields[fields.indexOf('-') + 2] ?? '');
  }
  return sources;
}

/** Whether a directory is one of ours whose process has ended. */
async function isLeft(outside: string, prefix: string): Promise<boolean> {
  const name = basename(outside);
  const [, number] = /^-(\d+)-\w{6}$/.exec(name.slice(prefix.length)) ?? [];
  if (!name.startsWith(prefix) || number === undefined) return false;
  const found = await lstat(outside).catch(() => undefined);
  if (found?.isDirectory() !== true || found.uid !== process.getuid?.()) return false;
  return !(await isRunning(Number(number)));
}

async function isRunning(pid: number): Promise<boolean> {
  return await lstat(`/proc/${pid}`).then(
    () => true,
    () => false,
  );
}
