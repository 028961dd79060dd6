import { join, posix } from 'node:path';
import type { Mount } from '../../../../proto/containerd.pb.ts';
import { harmlessMount, makeMountDirectory, sweepMounts } from '../../../../tools/mount-directory.ts';
import { runTool, ToolError } from '../../../../tools/run-tool.ts';
import { SpecError } from './spec-error.ts';

/**
 * Mounts a snapshot, read-only and without setuid programs and devices, in a new directory that
 * only this user can reach, as long as the work takes.
 *
 * @param mounts as containerd's snapshots service gives them
 * @throws {SpecError} it cannot be mounted; what the work throws
 */
export async function withMounted<Result>(
  mounts: readonly Mount[],
  work: (directory: string) => Promise<Result>,
): Promise<Result> {
  await using place = await makeMountDirectory(prefix);
  const directory = place.path;
  const mounted: string[] = [];
  try {
    for (const mount of mounts) {
      const target = join(directory, mount.target);
      await mountReadOnly(mount, target);
      mounted.push(target);
    }
    return await work(directory);
  } finally {
    // What is mounted below a bound directory goes with it.
    for (const target of mounted.toReversed()) await run('umount', ['--recursive', target]);
  }
}

const prefix = 'nibs-snapshot';

/** Unmounts the snapshots that agents which were killed have left mounted. */
export async function sweepSnapshotMounts(): Promise<void> {
  await sweepMounts(prefix);
}

async function mountReadOnly({ type, source, options }: Mount, target: string): Promise<void> {
  const { cwd, shortened } = shortenLayers(options.filter((option) => option !== 'rw' && option !== 'ro'));
  const ofType = type === 'bind' ? [] : ['--types', type];
  await run('mount', [...ofType, '--options', [...shortened, 'ro', ...harmlessMount].join(','), source, target], cwd);
}

/**
 * The kernel accepts one page of options, and the paths of an image's many layers may be longer: so
 * they are given relative to the directory that they share.
 */
function shortenLayers(options: readonly string[]): { readonly cwd: string; readonly shortened: readonly string[] } {
  const key = 'lowerdir=';
  const layers =
    options
      .find((option) => option.startsWith(key))
      ?.slice(key.length)
      .split(':') ?? [];
  const cwd = layers.length > 1 ? sharedDirectory(layers) : '/';
  if (cwd === '/') return { cwd, shortened: options };
  const relative = `${key}${layers.map((layer) => layer.slice(cwd.length + 1)).join(':')}`;
  return { cwd, shortened: options.map((option) => (option.startsWith(key) ? relative : option)) };
}

function sharedDirectory(paths: readonly string[]): string {
  let directory = posix.dirname(paths[0] ?? '/');
  while (directory !== '/' && !paths.every((path) => path.startsWith(`${directory}/`)))
    directory = posix.dirname(directory);
  return directory;
}

/** Neither mount nor umount takes longer, unless they hang. */
const mountTimeoutSeconds = 60;

async function run(program: string, parameters: readonly string[], cwd = '/'): Promise<void> {
  // The kernel's newer interface, which libmount prefers, takes 255 characters an option.
  const environment = { LIBMOUNT_FORCE_MOUNT2: 'always' };
  try {
    await runTool(program, parameters, { workingDirectory: cwd, environment, timeoutSeconds: mountTimeoutSeconds });
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    throw new SpecError({ what: 'mount', target: 'the image', why: error.why, cause: error });
  }
}
