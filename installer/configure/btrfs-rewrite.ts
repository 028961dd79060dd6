import { lstat, mkdir, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../errors/reason.ts';
import { runTool, ToolError } from '../../tools/run-tool.ts';
import type { Partition } from '../disk/gpt.ts';
import type { TargetDisk } from '../disk/target-disk.ts';
import { writeFully } from '../disk/write-fully.ts';
import { type FileTimes, readBtrfsIdentity, unifyBtrfs } from './btrfs-identity.ts';
import { inWorkDirectory, makeWorkDirectory } from './work-directory.ts';

const pieceBytes = 1024 * 1024;

/**
 * Changes files on a btrfs partition if the kernel cannot mount btrfs (CaptainOS has no module):
 * its files are extracted, and a new file system with them and the changes replaces it. Names,
 * contents, owners, modes, times, links and extended attributes are kept. Subvolumes, compression
 * and the UUID are not; Flatcar finds the partition by its label. Needs btrfs-progs, and space for
 * the contents of the partition in the directory for temporary files.
 * @param reproducible the same files give the same bytes, and all files are root's. Default: false
 * @throws {ToolError} btrfs-progs fails; {DiskError} the disk fails; {ConfigurationError} no space
 *   is left for temporary files
 */
export async function editBtrfs(
  disk: TargetDisk,
  partition: Partition,
  edit: (root: string) => Promise<void>,
  signal?: AbortSignal,
  reproducible = false,
): Promise<void> {
  await inWorkDirectory(async (work) => {
    const [before, after, root] = [join(work, 'before'), join(work, 'after'), join(work, 'root')];
    await copyPartition(disk, partition, before, signal);
    await mkdir(root, { mode: 0o755 });
    const restore = ['restore', '--metadata', '--symlinks', '--xattr', before, root];
    if (reproducible) await runWithoutMounts(['btrfs', ...restore], signal);
    else await runTool('btrfs', restore, { signal });
    const timesBefore = await readTimes(root);
    await edit(root);
    await makeSparse(after, partition.sizeBytes);
    const { label, uuid } = await readBtrfsIdentity(before);
    if (reproducible) {
      await makeInOrder(root, after, { label, uuid, work }, signal);
      await unifyBtrfs(after, unchangedTimes(timesBefore, await readTimes(root)));
    } else {
      await runTool('mkfs.btrfs', ['--quiet', '--label', label, '--rootdir', root, after], { signal });
    }
    await writeDifferences(disk, partition, before, after, signal);
  });
}

/**
 * mkfs.btrfs and btrfs restore look for their file behind all loop devices that are mounted.
 * Without root they fail if they may not see the file of another. Here they find nothing mounted.
 */
const hideMounts = ['mount', '--bind', '/dev/null', '/proc/$$/mounts'];

/**
 * mkfs.btrfs numbers files as the file system does from which it takes them. A new tmpfs numbers
 * them in the order in which they are made, and that is the order of their names.
 */
const copyToNewTmpfs = [
  ['mount', '-t', 'tmpfs', 'tmpfs', '"$1"'],
  ['tar', '--create', '--sort=name', '--xattrs', '--file=-', '--directory', '"$2"', '.', '|'],
  ['tar', '--extract', '--xattrs', '--preserve-permissions', '--file=-', '--directory', '"$1"'],
  ['shift', '2'],
];

/** Options of unshare(1). In the namespace this user is root, and there are no other users. */
function asRoot(): string[] {
  return process.getuid?.() === 0 ? [] : ['--map-root-user'];
}

/**
 * Runs a program of btrfs-progs in a mount namespace of its own, in which nothing seems to be
 * mounted. Without root that needs user namespaces, in which the user is root.
 * @param first commands of the shell; they see the words of `command` as `$1` and so on
 * @throws {ToolError}
 */
export async function runWithoutMounts(
  command: readonly string[],
  signal?: AbortSignal,
  first: readonly (readonly string[])[] = [],
): Promise<void> {
  const script = [hideMounts, ...first, ['exec', '"$@"']].map((words) => words.join(' ')).join('\n');
  await runTool('unshare', ['--mount', ...asRoot(), 'sh', '-ec', script, 'sh', ...command], { signal });
}

/**
 * Whether files of a btrfs can be replaced here with the same bytes each time.
 * @returns the reason why not
 */
export async function findReproductionProblem(signal?: AbortSignal): Promise<string | undefined> {
  await using work = await makeWorkDirectory();
  const [mounted, empty] = [join(work.path, 'mounted'), join(work.path, 'empty')];
  await mkdir(mounted);
  await mkdir(empty);
  try {
    await runTool('btrfs', ['--version'], { signal });
    await runWithoutMounts([mounted, empty, 'mkfs.btrfs', '--version'], signal, copyToNewTmpfs);
    return undefined;
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof ToolError) return reasonOf(error);
    throw error;
  }
}

async function makeInOrder(
  root: string,
  file: string,
  { label, uuid, work }: { readonly label: string; readonly uuid: string; readonly work: string },
  signal: AbortSignal | undefined,
): Promise<void> {
  const mounted = join(work, 'mounted');
  await mkdir(mounted);
  const make = ['mkfs.btrfs', '--quiet', '--label', label, '--uuid', uuid, '--rootdir', mounted, file];
  await runWithoutMounts([mounted, root, ...make], signal, copyToNewTmpfs);
}

/** Times of modification in nanoseconds since 1970, by path, of a directory and what is in it. */
async function readTimes(root: string): Promise<ReadonlyMap<string, { nanoseconds: bigint; isDirectory: boolean }>> {
  const paths = ['', ...(await readdir(root, { recursive: true }))];
  const entries = paths.map(async (path) => {
    const stat = await lstat(join(root, path), { bigint: true });
    return [path, { nanoseconds: stat.mtimeNs, isDirectory: stat.isDirectory() }] as const;
  });
  return new Map(await Promise.all(entries));
}

type Times = Awaited<ReturnType<typeof readTimes>>;

/**
 * The times of what was not changed, which come from the image, and for all else that of the newest
 * file of the image: this machine's clock must not be in the result, wherever it stands.
 */
function unchangedTimes(before: Times, after: Times): FileTimes {
  const kept = [...after].filter(([path, { nanoseconds }]) => before.get(path)?.nanoseconds === nanoseconds);
  let newest = 0n;
  // Directories change when files in them do.
  for (const { nanoseconds, isDirectory } of before.values())
    if (!isDirectory && nanoseconds > newest) newest = nanoseconds;
  return {
    kept: new Set(kept.map(([, { nanoseconds }]) => nanoseconds)),
    otherSeconds: Number(newest / 1_000_000_000n),
  };
}

/**
 * Copies a partition to a sparse file: most of it is zeroes, and the directory for temporary files
 * may be in memory.
 */
async function copyPartition(
  disk: TargetDisk,
  partition: Partition,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  await makeSparse(path, partition.sizeBytes);
  await using file = await open(path, 'r+');
  const zeroes = Buffer.alloc(pieceBytes);
  for (let offset = 0; offset < partition.sizeBytes; offset += pieceBytes) {
    signal?.throwIfAborted();
    const bytes = await disk.read(partition.offsetBytes + offset, Math.min(pieceBytes, partition.sizeBytes - offset));
    if (zeroes.compare(bytes, 0, bytes.length, 0, bytes.length) !== 0) await writeFully(file, bytes, offset);
  }
}

async function writeDifferences(
  disk: TargetDisk,
  partition: Partition,
  before: string,
  after: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  await using oldFile = await open(before, 'r');
  await using newFile = await open(after, 'r');
  for (let offset = 0; offset < partition.sizeBytes; offset += pieceBytes) {
    signal?.throwIfAborted();
    const length = Math.min(pieceBytes, partition.sizeBytes - offset);
    const { buffer: oldBytes } = await oldFile.read(Buffer.alloc(length), 0, length, offset);
    const { buffer: newBytes } = await newFile.read(Buffer.alloc(length), 0, length, offset);
    if (!oldBytes.equals(newBytes)) await disk.write(newBytes, partition.offsetBytes + offset);
  }
}

async function makeSparse(path: string, sizeBytes: number): Promise<void> {
  await using file = await open(path, 'wx', 0o600);
  await file.truncate(sizeBytes);
}
