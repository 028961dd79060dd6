import { equal, match } from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { architectures } from '../../debian/architecture.ts';
import { fetchBuildTools } from '../../initramfs/build-tools.ts';
import { squashfsOptions, writeSquashfs, xzOptions } from '../../initramfs/squashfs.ts';
import { Tree } from '../../initramfs/tree.ts';

test('writeSquashfs() makes the same bytes of the same tree, at any time and in any order of filling', async () => {
  const tools = await fetchBuildTools(resolve(import.meta.dirname, '../../build/cache'));
  const directory = await mkdtemp(join(tmpdir(), 'nibs-squashfs-'));
  try {
    const files = Array.from({ length: 40 }, (_, index): [string, Buffer] => [`lib/${index}`, randomBytes(30_000)]);
    files.push(['lib/large', Buffer.concat(files.map(([, bytes]) => bytes))]);
    await writeSquashfs(treeOf(files), join(directory, 'one'), 1_700_000_000, squashfsOptions(9), tools);
    await writeSquashfs(treeOf(files.toReversed()), join(directory, 'two'), 1_700_000_000, squashfsOptions(9), tools);
    equal((await readFile(join(directory, 'one'))).equals(await readFile(join(directory, 'two'))), true);

    const { stdout } = await execa('unsquashfs', ['-lln', join(directory, 'one')], { env: { TZ: 'UTC' } });
    match(stdout, /-rwxr-xr-x 0\/0 +1200000 2023-11-14 22:13 squashfs-root\/lib\/large/);
    match(stdout, /lrwxrwxrwx 0\/0 .* squashfs-root\/lib64 -> lib/);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('writeSquashfs() packs with xz for either architecture', async () => {
  const tools = await fetchBuildTools(resolve(import.meta.dirname, '../../build/cache'));
  const directory = await mkdtemp(join(tmpdir(), 'nibs-squashfs-'));
  try {
    for (const architecture of architectures) {
      const path = join(directory, architecture.name);
      await writeSquashfs(
        treeOf([['lib/text', Buffer.alloc(100_000, 'text')]]),
        path,
        0,
        xzOptions(architecture),
        tools,
      );
      match((await execa('unsquashfs', ['-stat', path])).stdout, /Compression xz/);
    }
  } finally {
    await rm(directory, { recursive: true });
  }
});

function treeOf(files: [string, Buffer][]): Tree {
  const tree = new Tree();
  for (const [path, bytes] of files) tree.file(path, bytes, 0o755);
  tree.link('lib64', 'lib');
  return tree;
}
