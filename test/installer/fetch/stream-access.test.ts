import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OutOfOrderError, type RandomAccess, readInto } from '../../../installer/fetch/random-access.ts';
import { streamAccess, streamWindowBytes } from '../../../installer/fetch/stream-access.ts';

const mebibyte = 1024 * 1024;
const never = new AbortController().signal;

/** A stream of 1 MiB chunks, each of which has its number in every byte. */
function numbered(count: number) {
  let delivered = 0;
  const bytes = async function* () {
    for (let i = 0; i < count; i++) {
      delivered++;
      yield Buffer.alloc(mebibyte, i);
    }
  };
  const image = { origin: 'a stream', sizeBytes: undefined, bytes: bytes(), [Symbol.dispose]() {} };
  return { access: streamAccess(image), delivered: () => delivered };
}

async function read(access: RandomAccess, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
  const bytes = Buffer.alloc(lengthBytes);
  return bytes.subarray(0, await readInto(access, offsetBytes, bytes, never));
}

/** Bytes of the stream. */
function expected(offsetBytes: number, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  for (let i = 0; i < lengthBytes; i++) bytes[i] = Math.floor((offsetBytes + i) / mebibyte);
  return bytes;
}

test('streamAccess() reads forwards, skips, and goes back within its window', async () => {
  const { access, delivered } = numbered(10);
  for (const [offset, length] of [
    [0, 100],
    [50, 2 * mebibyte],
    [5 * mebibyte - 10, 20],
    [mebibyte - 1, 3],
    [9 * mebibyte, 2 * mebibyte],
  ] as const) {
    const available = Math.min(length, 10 * mebibyte - offset);
    assert.ok((await read(access, offset, length)).equals(expected(offset, available)), `${length} from ${offset}`);
  }
  assert.equal(delivered(), 10);
});

test('streamAccess() reads no further than it must', async () => {
  const { access, delivered } = numbered(10);
  await read(access, 0, mebibyte);
  assert.equal(delivered(), 1);
});

test('streamAccess() keeps as much as its window, and no more', async () => {
  const window = streamWindowBytes / mebibyte;
  const { access } = numbered(window + 10);
  await read(access, (window + 4) * mebibyte, mebibyte);
  assert.ok((await read(access, 5 * mebibyte, 10)).equals(expected(5 * mebibyte, 10)));
  await assert.rejects(read(access, 5 * mebibyte - 1, 10), OutOfOrderError);
});

test('streamAccess() serves reads in the order in which they are begun', async () => {
  const window = streamWindowBytes / mebibyte;
  const { access } = numbered(3 * window);
  const starts = [0, window, 2 * window, 3 * window - 1].map((number) => number * mebibyte);
  const parts = await Promise.all(starts.map((start) => read(access, start, mebibyte)));
  for (const [i, start] of starts.entries()) assert.ok(parts[i]?.equals(expected(start, mebibyte)), `${start}`);
});

test('streamAccess() reads the stream to its end when it is finished', async () => {
  const { access, delivered } = numbered(20);
  await read(access, 0, 10);
  await access.finish(never);
  assert.equal(delivered(), 20);
});

test('streamAccess() keeps nothing of a read of all that follows', async () => {
  const { access } = numbered(5);
  await read(access, 0, 2 * mebibyte);
  const whole = Buffer.concat(await Array.fromAsync(access.read(0, Infinity, never)));
  assert.ok(whole.equals(expected(0, 5 * mebibyte)));
  await assert.rejects(read(access, 4 * mebibyte, 10), OutOfOrderError);
});

test('streamAccess() serves the next read when one was given up or has failed', async () => {
  const { access } = numbered(5);
  for await (const chunk of access.read(0, 3 * mebibyte, never)) if (chunk.length > 0) break;
  await assert.rejects(readInto(access, 0, Buffer.alloc(10), AbortSignal.abort(new Error('enough'))), /enough/);
  assert.ok((await read(access, mebibyte, 10)).equals(expected(mebibyte, 10)));
});
