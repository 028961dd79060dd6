import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../errors/reason.ts';
import { harmlessMount, makeMountDirectory } from '../../tools/mount-directory.ts';
import { runTool, ToolError } from '../../tools/run-tool.ts';
import { findPartition, type PartitionTable } from '../disk/gpt.ts';
import { codeOf } from '../disk/in-use.ts';
import { findReproductionProblem, runWithoutMounts } from './btrfs-rewrite.ts';
import { ConfigurationError } from './errors.ts';
import { writeSecretFile } from './file.ts';
import { attachLoop } from './loop.ts';
import { canMount, type Filesystem, mountPartition, mountPrefix } from './mount.ts';
import { inWorkDirectory, makeWorkDirectory, refuseTemporary } from './work-directory.ts';

/**
 * How files on a partition are changed: mounted by the kernel, or, btrfs only, rewritten by
 * btrfs-progs, or rewritten so that the same files give the same bytes (an image file).
 */
export type Way = 'mount' | 'rewrite' | 'reproduce';

/** What is written to the partitions of the installed system. */
export interface ConfigurationNeeds {
  /** Bytes for the OEM partition; undefined if nothing is written to it. */
  readonly oemBytes: number | undefined;
  /** Of these, what is needed at least: the size of the rest is not known before it is written. */
  readonly leastOemBytes: number | undefined;
  /** Bytes for the ROOT partition. */
  readonly rootBytes: number | undefined;
}

const mebibyte = 1024 * 1024;

/**
 * Does once, before the disk is changed, what the configuration needs at the end: room for
 * temporary files, loop devices, mounts, btrfs-progs.
 * @param onFile the disk is a file. Default: false
 * @returns how the OEM partition can be changed here
 * @throws {ConfigurationError} the configuration could not be written at the end
 */
export async function rehearseConfiguration(
  needs: ConfigurationNeeds,
  signal?: AbortSignal,
  onFile = false,
): Promise<Way> {
  const { oemBytes, rootBytes } = needs;
  if (onFile) return await rehearseOnFile(needs, signal);
  if (oemBytes === undefined && rootBytes === undefined) return 'mount';
  await checkTemporaryDirectory(2 * (oemBytes ?? 0) + mebibyte);
  const rootProblem = rootBytes === undefined ? undefined : await findMountProblem('ext4', signal);
  if (rootProblem !== undefined) throw refuseMount('the ROOT partition', rootProblem);
  const mountProblem = oemBytes === undefined ? undefined : await findMountProblem('btrfs', signal);
  if (mountProblem === undefined) return 'mount';
  const rewriteProblem = await findRewriteProblem(signal);
  if (rewriteProblem === undefined) return 'rewrite';
  throw refuseMount('the OEM partition', `${mountProblem}; it cannot be rewritten either: ${rewriteProblem}`);
}

/** Nothing of a file is mounted: it needs root, and kernels write other bytes each time. */
async function rehearseOnFile({ oemBytes }: ConfigurationNeeds, signal: AbortSignal | undefined): Promise<Way> {
  if (oemBytes === undefined) return 'reproduce';
  await checkTemporaryDirectory(2 * oemBytes + mebibyte);
  const problem = await findReproductionProblem(signal);
  if (problem === undefined) return 'reproduce';
  throw new ConfigurationError({
    what: 'write to',
    target: 'the OEM partition of a file',
    why: problem,
    hint: 'install btrfs-progs, util-linux and tar, and run as root or where users may make user namespaces',
  });
}

function refuseMount(target: string, why: string): ConfigurationError {
  return new ConfigurationError({
    what: 'write to',
    target,
    why: `it cannot be mounted: ${why}`,
    hint: 'run as root with the right to mount (CAP_SYS_ADMIN), with losetup, mount and umount; btrfs-progs are enough for the OEM partition',
  });
}

/**
 * Checks that files of this size can be written where temporary files are.
 *
 * @throws {ConfigurationError}
 */
async function checkTemporaryDirectory(sizeBytes: number): Promise<void> {
  try {
    await using work = await makeWorkDirectory();
    await using file = await open(join(work.path, 'room'), 'wx', 0o600);
    const piece = Buffer.alloc(mebibyte, 1);
    for (let written = 0; written < sizeBytes; written += piece.length) await file.writeFile(piece);
    await file.sync();
  } catch (cause) {
    throw refuseTemporary(cause);
  }
}

/**
 * Whether partitions with this file system can be mounted here: attaches a file to a loop device,
 * and mounts a file system that needs no device.
 * @returns the reason why not
 */
async function findMountProblem(filesystem: Filesystem, signal: AbortSignal | undefined): Promise<string | undefined> {
  if (!(await canMount(filesystem))) return `the kernel has no ${filesystem} or no loop devices`;
  signal?.throwIfAborted();
  try {
    await using work = await makeWorkDirectory();
    await using undo = new AsyncDisposableStack();
    const file = join(work.path, 'disk');
    await writeFile(file, Buffer.alloc(mebibyte));
    undo.use(await attachLoop(file));
    const { path } = undo.use(await makeMountDirectory(mountPrefix));
    await runTool('mount', ['-t', 'tmpfs', '-o', harmlessMount.join(','), 'tmpfs', path]);
    undo.defer(async () => void (await runTool('umount', [path])));
    await undo.disposeAsync();
    return undefined;
  } catch (error) {
    const failure = error instanceof SuppressedError ? error.error : error;
    if (failure instanceof ToolError || codeOf(failure) !== undefined) return reasonOf(failure);
    throw error;
  }
}

async function findRewriteProblem(signal: AbortSignal | undefined): Promise<string | undefined> {
  try {
    await runTool('btrfs', ['--version'], { signal });
    await runTool('mkfs.btrfs', ['--version'], { signal });
    return undefined;
  } catch (error) {
    if (error instanceof ToolError) return reasonOf(error);
    throw error;
  }
}

/**
 * Checks that the version of the image can be read at the end.
 * @param onFile the disk is a file. Default: false
 * @throws {ConfigurationError} no file system of an image can be mounted here
 */
export async function checkVersionProof(signal?: AbortSignal, onFile = false): Promise<void> {
  await checkTemporaryDirectory(mebibyte);
  const problem = await findMountProblem('btrfs', signal);
  if (problem === undefined || (await findMountProblem('ext4', signal)) === undefined) return;
  // Its files can be extracted, from a loop device.
  const mayAttach = !onFile || process.getuid?.() === 0;
  if (mayAttach && (await findRewriteProblem(signal)) === undefined) return;
  throw new ConfigurationError({
    what: 'compare',
    target: 'the version of the image',
    why: `its files cannot be mounted: ${problem}`,
    hint: 'give a date with --not-older-than, or run as root with the right to mount (CAP_SYS_ADMIN)',
  });
}

/**
 * Writes the configuration to a file with a file system as that of the image's OEM partition, when
 * its size is known. That the image has the partitions is checked too.
 * @throws {ConfigurationError} it does not fit, there or where temporary files are, or the file
 *   system cannot be made; {DiskError} the image has no such partition
 */
export async function rehearseWrite(
  table: PartitionTable,
  { oemBytes, rootBytes }: ConfigurationNeeds,
  way: Way,
  signal?: AbortSignal,
): Promise<void> {
  if (rootBytes !== undefined) {
    const root = findPartition(table, 'ROOT', 'the image');
    if (rootBytes > root.sizeBytes) throw refuseSize('ROOT', root.sizeBytes, rootBytes, undefined);
  }
  if (oemBytes === undefined) return;
  const { sizeBytes } = findPartition(table, 'OEM', 'the image');
  if (oemBytes > sizeBytes) throw refuseSize('OEM', sizeBytes, oemBytes, undefined);
  if ((await findRewriteProblem(signal)) !== undefined) {
    // A btrfs has its metadata twice, in parts of fixed size.
    if (oemBytes > sizeBytes / 3) throw refuseSize('OEM', sizeBytes, oemBytes, undefined);
    return;
  }
  try {
    await inWorkDirectory((directory) => writeToCopy(directory, sizeBytes, oemBytes, way, signal));
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof ConfigurationError) throw cause;
    throw oemBytes > sizeBytes / 3 || saysFull(cause)
      ? refuseSize('OEM', sizeBytes, oemBytes, cause)
      : refuseRehearsal(cause);
  }
}

async function writeToCopy(
  directory: string,
  sizeBytes: number,
  contentBytes: number,
  way: Way,
  signal: AbortSignal | undefined,
): Promise<void> {
  const [path, root] = [join(directory, 'partition'), join(directory, 'root')];
  await using file = await open(path, 'wx', 0o600);
  await file.truncate(sizeBytes);
  const content = Buffer.alloc(contentBytes, 1);
  if (way === 'mount') {
    await runTool('mkfs.btrfs', ['--quiet', path], { signal });
    await using mounted = await mountPartition(
      { path },
      { offsetBytes: 0, sizeBytes },
      { filesystem: 'btrfs', signal },
    );
    await writeSecretFile(join(mounted.directory, 'config.ign'), content);
  } else {
    await mkdir(root);
    await writeSecretFile(join(root, 'config.ign'), content);
    const make = ['--quiet', '--rootdir', root, path];
    if (way === 'reproduce') await runWithoutMounts(['mkfs.btrfs', ...make], signal);
    else await runTool('mkfs.btrfs', make, { signal });
  }
}

function refuseSize(label: string, sizeBytes: number, neededBytes: number, cause: unknown): ConfigurationError {
  const reason = cause === undefined ? '' : ` (${reasonOf(cause)})`;
  return new ConfigurationError({
    what: 'write the configuration to',
    target: `the ${label} partition`,
    why: `${neededBytes} bytes do not fit on it: it has ${sizeBytes}${reason}`,
    hint: 'let the installed system download large files instead of having them in the config',
    cause,
  });
}

/** What a system call or mkfs.btrfs says of a file system without room (mkfs/rootdir.c). */
function saysFull(cause: unknown): boolean {
  return codeOf(cause) === 'ENOSPC' || /No space left|ENOSPC|[^\d]-28\b|not large enough/i.test(reasonOf(cause));
}

function refuseRehearsal(cause: unknown): ConfigurationError {
  return new ConfigurationError({
    what: 'write the configuration to',
    target: 'a copy of the OEM partition',
    why: reasonOf(cause),
    hint: 'check that mkfs.btrfs works here',
    cause,
  });
}
