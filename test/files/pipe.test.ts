import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { PlacedFileError, readPlacedFile } from '../../files/read-placed-file.ts';

// Without a limit a reader that waits would keep the test for good.
test('readPlacedFile() does not wait for the writer of a pipe', { timeout: 600_000 }, async (test) => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-pipe-'));
  const pipe = join(directory, 'pipe');
  await execa('mkfifo', [pipe]);
  // Ends the wait of a reader, whose thread would keep the process.
  test.after(async () => {
    await (await open(pipe, constants.O_RDWR | constants.O_NONBLOCK)).close();
    await rm(directory, { recursive: true });
  });
  await assert.rejects(
    readPlacedFile(pipe, 100),
    (error) => error instanceof PlacedFileError && error.message === 'is not a regular file',
  );
});
