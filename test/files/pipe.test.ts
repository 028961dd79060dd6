import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { PlacedFileError, readPlacedFile } from '../../files/read-placed-file.ts';

test('readPlacedFile() does not wait for the writer of a pipe', async (test) => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-pipe-'));
  test.after(() => rm(directory, { recursive: true }));
  const pipe = join(directory, 'pipe');
  await execa('mkfifo', [pipe]);
  await assert.rejects(
    readPlacedFile(pipe, 100),
    (error) => error instanceof PlacedFileError && error.message === 'is not a regular file',
  );
});
