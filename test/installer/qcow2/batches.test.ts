import assert from 'node:assert/strict';
import { test } from 'node:test';
import { batchesOf } from '../../../installer/qcow2/batches.ts';
import type { Piece } from '../../../installer/qcow2/pieces.ts';

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;
const data = (offsetBytes: number, lengthBytes: number): Piece => ({ kind: 'data', offsetBytes, lengthBytes });
const zero = (lengthBytes: number): Piece => ({ kind: 'zero', lengthBytes });
const compressed = (offsetBytes: number, storedBytes: number, lengthBytes: number): Piece => ({
  kind: 'compressed',
  ...{ offsetBytes, storedBytes, lengthBytes },
});

/** The part of the file and the number of pieces of each batch. */
async function ranges(...pieces: readonly Piece[]): Promise<[start: number, end: number, pieces: number][]> {
  const source = async function* () {
    yield* pieces;
  };
  const batches = await Array.fromAsync(batchesOf(source()));
  assert.ok(batches.every((batch) => batch.endBytes - batch.startBytes <= 4 * mebibyte));
  return batches.map(({ startBytes, endBytes, pieces: { length } }) => [startBytes, endBytes, length]);
}

test('batchesOf() joins what is near in the file, in any order, with zeroes between', async () => {
  assert.deepEqual(
    await ranges(data(500 * kibibyte, 4096), zero(mebibyte), data(530 * kibibyte, 4096), data(470 * kibibyte, 4096)),
    [[470 * kibibyte, 534 * kibibyte, 4]],
  );
});

test('batchesOf() does not read more than 64 KiB between two pieces', async () => {
  assert.deepEqual(await ranges(data(0, 4096), data(69 * kibibyte, 4096)), [
    [0, 4096, 1],
    [69 * kibibyte, 73 * kibibyte, 1],
  ]);
  assert.deepEqual(await ranges(data(69 * kibibyte, 4096), data(0, 1024)), [
    [69 * kibibyte, 73 * kibibyte, 1],
    [0, 1024, 1],
  ]);
});

test('batchesOf() splits what is long in the file, or in the disk', async () => {
  assert.deepEqual(await ranges(data(512, 9 * mebibyte)), [
    [512, 512 + 4 * mebibyte, 1],
    [512 + 4 * mebibyte, 512 + 8 * mebibyte, 1],
    [512 + 8 * mebibyte, 512 + 9 * mebibyte, 1],
  ]);
  const dense = Array.from({ length: 5 }, (_, i) => compressed(i * 512, 512, 2 * mebibyte));
  assert.deepEqual(await ranges(...dense), [
    [0, 1024, 2],
    [1024, 2048, 2],
    [2048, 2560, 1],
  ]);
});

test('batchesOf() ends a batch before a table', async () => {
  assert.deepEqual(await ranges(data(0, 512), { kind: 'table' }, data(512, 512)), [
    [0, 512, 1],
    [512, 1024, 1],
  ]);
});
