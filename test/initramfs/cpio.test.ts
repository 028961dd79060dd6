import { deepEqual, equal } from 'node:assert/strict';
import { mkdtemp, readFile, readlink, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { cpio } from '../../initramfs/cpio.ts';
import { Tree } from '../../initramfs/tree.ts';

test('cpio() writes what the cpio program reads', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-cpio-'));
  try {
    await execa('cpio', ['--extract', '--quiet', '--preserve-modification-time'], {
      cwd: directory,
      input: cpio(sample(), 1_700_000_000),
    });
    equal(await readFile(join(directory, 'bin/tool'), 'utf8'), 'odd length');
    equal((await stat(join(directory, 'bin/tool'))).mode & 0o7777, 0o755);
    equal((await stat(join(directory, 'bin/tool'))).mtimeMs, 1_700_000_000_000);
    equal((await stat(join(directory, 'tmp'))).mode & 0o7777, 0o1777);
    equal(await readlink(join(directory, 'bin/link')), 'tool');
    equal((await stat(join(directory, 'empty'))).size, 0);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('cpio() archives stay readable one after the other: each is a whole number of blocks', async () => {
  const one = cpio(sample(), 0);
  equal(one.length % 512, 0);
  const { stdout } = await execa('cpio', ['--list', '--quiet'], { input: one });
  deepEqual(stdout.split('\n'), ['bin', 'bin/link', 'bin/tool', 'empty', 'tmp']);
});

test('cpio() of the same tree has the same bytes', () => {
  equal(cpio(sample(), 5).equals(cpio(sample(), 5)), true);
});

function sample(): Tree {
  const tree = new Tree();
  tree.file('bin/tool', 'odd length', 0o755);
  tree.link('bin/link', 'tool');
  tree.directory('tmp', 0o1777);
  tree.file('empty', '');
  return tree;
}
