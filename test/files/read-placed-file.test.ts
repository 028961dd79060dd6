import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { PlacedFileError, readPlacedFile } from '../../files/read-placed-file.ts';
import { assertLoopIsFree } from '../sandbox/event-loop.ts';

async function scratch(test: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-placed-'));
  test.after(() => rm(directory, { recursive: true }));
  return directory;
}

async function refused(path: string, message: string): Promise<void> {
  await assert.rejects(
    readPlacedFile(path, 100),
    (error) => error instanceof PlacedFileError && error.message === message,
  );
}

test('readPlacedFile() reads a file up to the limit, and one of the kernel', async (test) => {
  const file = join(await scratch(test), 'file');
  for (const length of [0, 1, 99, 100]) {
    await writeFile(file, 'x'.repeat(length));
    assert.equal((await readPlacedFile(file, 100)).toString(), 'x'.repeat(length));
  }
  // Of several pages, with a size of 0.
  const symbols = await readFile('/proc/kallsyms');
  assert.ok((await readPlacedFile('/proc/kallsyms', symbols.length)).equals(symbols));
  await assert.rejects(readPlacedFile(join(file, '..', 'none'), 100), { code: 'ENOENT' });
});

test('readPlacedFile() neither follows a link nor reads a device, a directory or a socket', async (test) => {
  const directory = await scratch(test);
  const [file, link, socket] = ['file', 'link', 'socket'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  await writeFile(file, 'secret');
  await symlink('file', link);
  const server = createServer().listen(socket);
  test.after(() => server.close());
  await once(server, 'listening');
  await refused(link, 'is a symbolic link');
  for (const path of ['/dev/zero', directory, socket]) await refused(path, 'is not a regular file');
});

test('readPlacedFile() takes no memory for a file of 400 MB, or for one that grows', async (test) => {
  const file = join(await scratch(test), 'file');
  await writeFile(file, '');
  await truncate(file, 400e6);
  await assertLoopIsFree('400 MB', () => refused(file, 'has 400000000 bytes, more than 100'));
  // Its size is 0 until it is read.
  await refused('/proc/kallsyms', 'has 101 bytes, more than 100');
});
