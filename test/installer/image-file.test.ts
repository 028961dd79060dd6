import assert from 'node:assert/strict';
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openImageFile, readSignatureBeside } from '../../installer/image-file.ts';

const never = new AbortController().signal;

test('openImageFile() reads a file of this machine and refuses what is none', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-image-'));
  const path = join(directory.path, 'image');
  await writeFile(path, 'content');
  using image = await openImageFile(path, never);
  assert.equal(image.sizeBytes, 7);
  assert.equal(Buffer.concat(await Array.fromAsync(image.bytes)).toString(), 'content');
  await assert.rejects(openImageFile(directory.path, never), /it is neither a regular file nor a pipe/);
  await assert.rejects(openImageFile('/dev/null', never), /it is neither a regular file nor a pipe/);
  await assert.rejects(openImageFile(`${path}.none`, never), /cannot read the image .*ENOENT/);
});

test('readSignatureBeside() finds a signature, and refuses one that cannot be read', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-image-'));
  const path = join(directory.path, 'image');
  assert.equal(await readSignatureBeside(path, 10), undefined);
  assert.equal(await readSignatureBeside('-', 10), undefined);
  await writeFile(`${path}.sig`, 'signature');
  assert.equal(Buffer.from((await readSignatureBeside(path, 10)) ?? []).toString(), 'signature');
  await assert.rejects(readSignatureBeside(path, 5), /cannot read the signature .*: it is larger than 5 bytes/);
  await mkdir(`${path}2.sig`);
  await assert.rejects(readSignatureBeside(`${path}2`, 1e6), /cannot read the signature .*EISDIR/);
});
