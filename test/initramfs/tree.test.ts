import { deepEqual, equal, notEqual } from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Tree } from '../../initramfs/tree.ts';

test('Tree gives entries in the order of their paths, with the directories they need', () => {
  const tree = new Tree();
  tree.file('usr/lib/b', 'b');
  tree.link('bin', 'usr/bin');
  tree.file('usr/lib/a', 'a');
  deepEqual(
    tree.entries.map(([path, { kind }]) => `${path} ${kind}`),
    ['bin link', 'usr directory', 'usr/lib directory', 'usr/lib/a file', 'usr/lib/b file'],
  );
});

test('Tree copies a directory of the host without its times, owners and odd modes', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-tree-'));
  try {
    await mkdir(join(directory, 'one'));
    await writeFile(join(directory, 'one/program'), '#!/bin/sh\n');
    await chmod(join(directory, 'one/program'), 0o700);
    await symlink('program', join(directory, 'one/link'));
    const first = new Tree();
    await first.copy(directory, 'etc');
    await utimes(join(directory, 'one/program'), 1, 1);
    await chmod(join(directory, 'one/program'), 0o755);
    const second = new Tree();
    await second.copy(directory, 'etc');
    equal(first.hash, second.hash);
    deepEqual(
      first.entries.map(([path]) => path),
      ['etc', 'etc/one', 'etc/one/link', 'etc/one/program'],
    );
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('Tree has another hash when a path, a mode, a target or a byte differs', () => {
  const build = (change: (tree: Tree) => void): string => {
    const tree = new Tree();
    tree.file('a', 'content');
    tree.link('b', 'a');
    change(tree);
    return tree.hash;
  };
  const before = build(() => {});
  equal(
    build((tree) => tree.file('a', 'content')),
    before,
  );
  for (const change of [
    (tree: Tree) => tree.file('a', 'contenT'),
    (tree: Tree) => tree.file('a', 'content', 0o755),
    (tree: Tree) => tree.link('b', 'c'),
    (tree: Tree) => tree.directory('c'),
  ]) {
    notEqual(build(change), before);
  }
});
