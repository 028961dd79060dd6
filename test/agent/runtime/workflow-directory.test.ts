import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { makeWorkflowDirectory, workflowDirectory } from '../../../agent/runtime/workflow-directory.ts';

test('a plain id is the name of the directory', () => {
  assert.equal(workflowDirectory('/worker', '6fc7c9be-0ff0-4a4b-a2f1'), '/worker/6fc7c9be-0ff0-4a4b-a2f1');
  assert.equal(workflowDirectory('/worker', 'tink-system/sandbox'), '/worker/tink-system/sandbox');
});

test("no id leads out of the base directory, into a bind option, or to another workflow's directory", () => {
  const odd = [
    '..',
    '../../etc',
    '/etc',
    'a/../b',
    'a:b',
    'a b',
    '',
    '.',
    'a//b',
    'x'.repeat(300),
    'ä',
    'a\0b',
    'a_b:',
    'a_b ',
  ];
  const paths = odd.map((id) => workflowDirectory('/worker', id));
  for (const path of paths) assert.match(relative('/worker', path), /^[\w-][\w.-]*$/);
  assert.equal(new Set(paths).size, odd.length);
});

test('makeWorkflowDirectory() makes a world-readable directory, and keeps its files', async () => {
  const base = await mkdtemp(join(tmpdir(), 'nibs-worker-'));
  try {
    const directory = await makeWorkflowDirectory(base, 'a/b');
    assert.equal((await stat(directory)).mode & 0o777, 0o755);
    const data = join(directory, 'data');
    assert.equal((await stat(data)).mode & 0o777, 0o644);
    assert.equal(await readFile(data, 'utf8'), '{}');
    await writeFile(data, '{"a":1}');
    await chmod(data, 0o666);
    await makeWorkflowDirectory(base, 'a/b');
    assert.equal(await readFile(data, 'utf8'), '{"a":1}');
    assert.equal((await stat(data)).mode & 0o777, 0o666);
  } finally {
    await rm(base, { recursive: true });
  }
});
