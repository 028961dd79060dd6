import { Readable } from 'node:stream';
import { type Pack, pack } from 'tar-stream';
import type { Architecture } from '../debian/architecture.ts';
import type { BuildTools } from './build-tools.ts';
import type { Tree } from './tree.ts';

/**
 * The largest block size: 5 % smaller than with 256 KiB, and the machine is ready as early
 * (measured: 64 KiB, 128 KiB, 256 KiB, 1 MiB).
 *
 * @param compressionLevel of zstd. Level 19 takes 17 times as much processor time as level 9; with
 * level 9 the executable is 12 % larger.
 */
export function squashfsOptions(compressionLevel: number): readonly string[] {
  return ['-comp', 'zstd', '-Xcompression-level', String(compressionLevel), ...always];
}

/** How layers are compressed: all in one way, or each as it is used. */
export const compressions = ['mixed', 'zstd', 'xz'] as const;

/**
 * About a tenth smaller than zstd at level 19; the machine needs about ten times as long to unpack
 * a block.
 */
export function xzOptions(architecture: Architecture): readonly string[] {
  // Each block is also compressed with the filter for machine code, and the smaller is taken.
  // squashfs-tools of Debian 13 has none for arm64.
  const filter = architecture.name === 'x86_64' ? ['-Xbcj', 'x86'] : [];
  return ['-comp', 'xz', ...filter, '-Xdict-size', '100%', ...always];
}

const always = ['-b', '1M', '-no-xattrs', '-no-exports'];

/**
 * Writes a tree as a squashfs image in which all files are owned by root and have the same time.
 * @throws {ToolError} with the message of mksquashfs
 */
export async function writeSquashfs(
  tree: Tree,
  path: string,
  timeSeconds: number,
  packing: readonly string[],
  tools: BuildTools,
): Promise<void> {
  const time = ['-mkfs-time', String(timeSeconds), '-all-time', String(timeSeconds)];
  const options = ['-', path, '-tar', '-noappend', '-quiet', '-no-progress', ...time, ...packing];
  await tools.run('mksquashfs', options, {
    input: Readable.from(tar(tree)),
    environment: { SOURCE_DATE_EPOCH: undefined }, // mksquashfs refuses two sources of the time
    timeoutSeconds: Number.POSITIVE_INFINITY,
  });
}

function tar(tree: Tree): Pack {
  const archive = pack();
  for (const [name, entry] of tree.entries) {
    if (entry.kind === 'directory') archive.entry({ name, type: 'directory', mode: entry.mode });
    if (entry.kind === 'link') archive.entry({ name, type: 'symlink', linkname: entry.target });
    if (entry.kind === 'file') archive.entry({ name, mode: entry.mode }, Buffer.from(entry.content));
  }
  archive.finalize();
  return archive;
}
