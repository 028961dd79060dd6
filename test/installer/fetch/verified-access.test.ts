import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { FileChangedError } from '../../../installer/fetch/errors.ts';
import { type RangedImage, readInto } from '../../../installer/fetch/random-access.ts';
import { verifiedAccess } from '../../../installer/fetch/verified-access.ts';

const mebibyte = 1024 * 1024;
const never = new AbortController().signal;

/** An image in memory, which can be changed. */
function memoryImage(content: Buffer, origin = 'http://mirror/image') {
  const reads: [offsetBytes: number, lengthBytes: number][] = [];
  const image: RangedImage = {
    origin,
    sizeBytes: content.length,
    isSequential: false,
    async *read(offsetBytes, lengthBytes) {
      reads.push([offsetBytes, lengthBytes]);
      for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += 100_000)
        yield content.subarray(at, Math.min(at + 100_000, offsetBytes + lengthBytes));
    },
    async finish() {},
    [Symbol.dispose]() {},
  };
  return { image, reads };
}

const unchanged = (source: AsyncIterable<Uint8Array>) => source;

async function read(access: RangedImage | Awaited<ReturnType<typeof verifiedAccess>>, start: number, length: number) {
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, await readInto(access, start, bytes, never));
}

test('verifiedAccess() shows every byte to the check, in order, and reads the same parts again', async () => {
  const content = randomBytes(5 * mebibyte + 1234);
  const { image, reads } = memoryImage(content);
  const hash = createHash('sha256');
  const watch = async function* (source: AsyncIterable<Uint8Array>) {
    for await (const chunk of source) {
      hash.update(chunk);
      yield chunk;
    }
  };
  const access = await verifiedAccess(image, watch, never);
  assert.equal(hash.digest('hex'), createHash('sha256').update(content).digest('hex'));
  assert.deepEqual(reads, [[0, content.length]]);
  for (const [start, length] of [
    [0, 10],
    [mebibyte - 1, 2],
    [2 * mebibyte + 5, 2 * mebibyte],
    [5 * mebibyte, 1234],
    [content.length - 1, 100],
    [0, content.length],
  ] as const)
    assert.ok((await read(access, start, length)).equals(content.subarray(start, start + length)), `from ${start}`);
});

test('verifiedAccess() reads what is together at once, and keeps it for the next read', async () => {
  const content = randomBytes(8 * mebibyte);
  const { image, reads } = memoryImage(content);
  const access = await verifiedAccess(image, unchanged, never);
  reads.length = 0;
  await read(access, 100, 2 * mebibyte);
  await Promise.all([read(access, 200, 10), read(access, 3 * mebibyte + 1, 100), read(access, 3 * mebibyte + 200, 10)]);
  assert.deepEqual(reads, [
    [0, 3 * mebibyte],
    [3 * mebibyte, mebibyte],
  ]);
});

test('verifiedAccess() notices a byte that is another one the second time', async () => {
  for (const at of [0, 3 * mebibyte, 5 * mebibyte - 1]) {
    const content = randomBytes(5 * mebibyte);
    const access = await verifiedAccess(memoryImage(content).image, unchanged, never);
    content[at] = (content[at] ?? 0) ^ 1;
    await assert.rejects(read(access, 0, content.length), FileChangedError, `byte ${at}`);
    await assert.rejects(read(access, at, 1), FileChangedError);
  }
});

test('verifiedAccess() says so too of a file of this machine, and when the image ends early', async () => {
  const content = randomBytes(2 * mebibyte);
  const access = await verifiedAccess(memoryImage(content, '/images/one').image, unchanged, never);
  content[5] = (content[5] ?? 0) ^ 1;
  await assert.rejects(
    read(access, 0, 10),
    /^InstallError: cannot read the image \/images\/one: it is not the same when it is read again$/,
  );
  const { image } = memoryImage(content);
  const short = { ...image, sizeBytes: content.length + 1 };
  await assert.rejects(verifiedAccess(short, unchanged, never), FileChangedError);
});
