import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runTool } from '../../tools/run-tool.ts';
import type { Partition } from '../disk/gpt.ts';
import type { TargetDisk } from '../disk/target-disk.ts';

const pieceBytes = 1024 * 1024;

/**
 * Changes files on a btrfs partition if the kernel cannot mount btrfs (CaptainOS has no module):
 * its files are extracted, and a new file system with them and the changes replaces it. Names,
 * contents, owners, modes, times, links and extended attributes are kept. Subvolumes, compression
 * and the UUID are not; Flatcar finds the partition by its label. Needs btrfs-progs, and space for
 * the contents of the partition in the directory for temporary files.
 * @throws {ToolError} btrfs-progs fails; {DiskError} the disk fails
 */
export async function editBtrfs(
  disk: TargetDisk,
  partition: Partition,
  edit: (root: string) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'flatcar-install-'));
  try {
    const [before, after, root] = [join(work, 'before'), join(work, 'after'), join(work, 'root')];
    await copyPartition(disk, partition, before, signal);
    await mkdir(root, { mode: 0o755 });
    await runTool('btrfs', ['restore', '--metadata', '--symlinks', '--xattr', before, root], { signal });
    await edit(root);
    await makeSparse(after, partition.sizeBytes);
    await runTool('mkfs.btrfs', ['--quiet', '--label', await readLabel(before), '--rootdir', root, after], { signal });
    await writeDifferences(disk, partition, before, after, signal);
  } finally {
    await rm(work, { recursive: true });
  }
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
    if (zeroes.compare(bytes, 0, bytes.length, 0, bytes.length) !== 0) await file.write(bytes, 0, bytes.length, offset);
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

async function readLabel(path: string): Promise<string> {
  return (await runTool('btrfs', ['filesystem', 'label', path])).stdout;
}
