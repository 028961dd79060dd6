import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFile, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openFileAccess } from '../../../installer/fetch/file-access.ts';
import { readInto } from '../../../installer/fetch/random-access.ts';

const content = randomBytes(3_000_000);
const never = new AbortController().signal;

/** A file with the content. */
async function makeFile() {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-file-'));
  const path = join(directory, 'image');
  await writeFile(path, content);
  return { path, directory, [Symbol.asyncDispose]: () => rm(directory, { recursive: true }) };
}

test('openFileAccess() reads parts in any order, and several at once', async () => {
  await using file = await makeFile();
  using access = await openFileAccess(file.path);
  assert.equal(access.sizeBytes, content.length);
  const reads = [2_000_000, 0, 1_500_000].map(async (start) => {
    const bytes = Buffer.alloc(1_200_000);
    const readBytes = await readInto(access, start, bytes, never);
    assert.ok(bytes.subarray(0, readBytes).equals(content.subarray(start, start + bytes.length)), `from ${start}`);
    return readBytes;
  });
  assert.deepEqual(await Promise.all(reads), [1_000_000, 1_200_000, 1_200_000]);
  assert.equal(await readInto(access, 5_000_000, Buffer.alloc(10), never), 0);
  await access.finish(never);
});

test('openFileAccess() notices that the file is written or truncated meanwhile', async () => {
  await using file = await makeFile();
  using access = await openFileAccess(file.path);
  await appendFile(file.path, 'more');
  await assert.rejects(access.finish(never), /cannot read the image \S+: it changed meanwhile \(try again/);
  using other = await openFileAccess(file.path);
  await truncate(file.path, 1000);
  await assert.rejects(readInto(other, 500, Buffer.alloc(1000), never), /it changed meanwhile/);
});

test('openFileAccess() refuses what is no file with content, and stops when the signal is aborted', async () => {
  await using file = await makeFile();
  await assert.rejects(openFileAccess(file.directory), /it is not a regular file/);
  await assert.rejects(openFileAccess(`${file.path}.none`), /cannot read the image .*ENOENT.*\(give the path/);
  using access = await openFileAccess(file.path);
  await assert.rejects(readInto(access, 0, Buffer.alloc(10), AbortSignal.abort(new Error('enough'))), /enough/);
  await truncate(file.path, 0);
  await assert.rejects(openFileAccess(file.path), /it is empty/);
});
