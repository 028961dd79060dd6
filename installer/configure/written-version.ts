import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { PlacedFileError, readPlacedFile } from '../../files/read-placed-file.ts';
import { runTool, ToolError } from '../../tools/run-tool.ts';
import { DiskError } from '../disk/errors.ts';
import { findPartition, type Partition } from '../disk/gpt.ts';
import type { TargetDisk } from '../disk/target-disk.ts';
import { ConfigurationError } from './errors.ts';
import { attachLoop } from './loop.ts';
import { type Filesystem, mountPartition } from './mount.ts';
import { readFilesystem } from './partition.ts';
import { makeWorkDirectory } from './work-directory.ts';

/** The partition with the operating system of a new image. */
const systemLabel = 'USR-A';

const maxFileBytes = 64 * 1024;

/**
 * The version of the Flatcar that was written, as its own files say. What is signed is an image,
 * not its name: a mirror can serve another version under the name of the one that was asked for.
 * @returns `undefined`: this machine cannot read it, or the image does not say
 */
export async function readWrittenVersion(disk: TargetDisk): Promise<string | undefined> {
  const table = await disk.readTable();
  if (table.partitions.filter(({ label }) => label === systemLabel).length !== 1) return undefined;
  const partition = findPartition(table, systemLabel, disk.path);
  const filesystem = await readFilesystem(disk, partition);
  if (filesystem === undefined) return undefined;
  try {
    return await readVersion(disk, partition, filesystem);
  } catch (error) {
    if (error instanceof DiskError) throw error;
    // Without loop devices, the file system, the right to mount or a place for a directory, the
    // version stays a claim.
    return undefined;
  }
}

async function readVersion(
  disk: TargetDisk,
  partition: Partition,
  filesystem: Filesystem,
): Promise<string | undefined> {
  try {
    // The system checks this partition against a hash (dm-verity): nothing of it may change.
    await using mounted = await mountPartition(disk, partition, { filesystem, readOnly: true });
    return await versionIn(mounted.directory);
  } catch (error) {
    // The kernel has no btrfs, as CaptainOS's, or has one mounted with the same UUID, that of the
    // running Flatcar.
    if (filesystem !== 'btrfs' || !isUnreadable(error)) throw error;
    return await withExtracted(disk, partition, versionIn);
  }
}

function isUnreadable(error: unknown): boolean {
  return error instanceof ToolError || error instanceof ConfigurationError;
}

async function versionIn(usr: string): Promise<string | undefined> {
  const release = await variablesIn(join(usr, 'share/flatcar/release'));
  const system = await variablesIn(join(usr, 'lib/os-release'));
  return release['FLATCAR_RELEASE_VERSION'] ?? (system['ID'] === 'flatcar' ? system['VERSION_ID'] : undefined);
}

/** A regular file only: a link could lead to a file of this machine. */
async function variablesIn(path: string): Promise<Record<string, string | undefined>> {
  try {
    return parseEnv((await readPlacedFile(path, maxFileBytes)).toString('utf8'));
  } catch (error) {
    if (error instanceof PlacedFileError || (error instanceof Error && 'code' in error)) return {};
    throw error;
  }
}

/** The two files of {@link versionIn}, in the form that `btrfs restore` wants. */
const versionFiles = '^/(|share(|/flatcar(|/release))|lib(|/os-release))$';

/** Reads a btrfs in user space, compressed or not. */
async function withExtracted<Result>(
  disk: TargetDisk,
  partition: Partition,
  read: (directory: string) => Promise<Result>,
): Promise<Result> {
  await using loop = await attachLoop(disk.path, partition, ['--read-only']);
  await using work = await makeWorkDirectory();
  await runTool('btrfs', ['restore', '--path-regex', versionFiles, loop.path, work.path]);
  return await read(work.path);
}
