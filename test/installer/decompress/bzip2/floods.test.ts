/** Files of extreme shape: very many streams or blocks, and very long blocks. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { WorkerSettings } from '../../../../installer/decompress/bzip2/worker-settings.ts';
import { Random } from '../random.ts';
import { compress as compressedBy } from './corpus.ts';
import { decodeAll, decodedBy } from './decode.ts';
import { BitWriter, writeStream } from './encoder.ts';
import { inThisThread } from './in-this-thread.ts';

const MiB = 1024 * 1024;
const compress = (bytes: Buffer) => compressedBy('bzip2', bytes, 9);

/** Decodes, and counts the messages of the worker that are not a MiB of data. */
async function decodeCounted(file: Buffer) {
  let messages = 0;
  const startWorker = (settings: WorkerSettings) => {
    const worker = inThisThread(settings);
    worker.on('message', () => void messages++);
    return worker;
  };
  return { bytes: await decodeAll(file, { workers: 1, startWorker }), messages };
}

describe('what a worker tells of its piece is bounded, whatever is in the piece', () => {
  test('100,000 empty streams', async () => {
    const { bytes, messages } = await decodeCounted(repeated(compress(Buffer.alloc(0)), 100_000));
    assert.equal(bytes.length, 0);
    assert.ok(messages < 20, `${messages} messages`);
  });

  test('20,000 streams of a byte', async () => {
    const { bytes, messages } = await decodeCounted(repeated(compress(Buffer.from('a')), 20_000));
    assert.ok(bytes.equals(Buffer.alloc(20_000, 'a')));
    assert.ok(messages < 20, `${messages} messages`);
  });

  test('10,000 streams of a zero, alternating with other bytes', async () => {
    const pair = [compress(Buffer.from('a')), compress(Buffer.alloc(1))];
    const { bytes, messages } = await decodeCounted(repeated(Buffer.concat(pair), 10_000));
    assert.ok(bytes.equals(Buffer.alloc(20_000, 'a\0')));
    assert.ok(messages < 20, `${messages} messages`);
  });
});

test('a stream within a piece is checked: a wrong checksum and a block too long for its level are refused', async () => {
  const stream = compress(Buffer.from('a'));
  const damaged = Buffer.from(stream);
  // The combined checksum ends before the last bits of the file.
  damaged[damaged.length - 2] = (damaged[damaged.length - 2] ?? 0) ^ 1;
  const file = Buffer.concat([stream, stream, damaged, stream]);
  await assert.rejects(decodeCounted(file), /the checksum of the stream is wrong/);
  const long = compress(new Random(3).bytes(200_000));
  long.write('1', 3);
  await assert.rejects(decodeCounted(Buffer.concat([stream, long])), /it is longer than level 1 allows/);
});

describe('a block may be long', () => {
  test('20 MiB compressed: as the bzip2 program, bzip2() decodes it', async () => {
    const file = longBlock(20 * MiB);
    const expected = decodedBy('bzip2', file);
    assert.ok(expected);
    assert.ok(expected.equals(await decodeAll(file, { workers: 2 })));
  });

  test('more than 32 MiB compressed: refused, to bound the memory', async () => {
    await assert.rejects(
      decodeAll(longBlock(36 * MiB), { workers: 1 }),
      /the bzip2 data at byte 4 \(bit 0\) is invalid: it is longer than 33554432 bytes \(/,
    );
  });

  test('20 MiB and more decoded from one block', async () => {
    const bytes = Buffer.alloc(45 * MiB, 'x');
    // A run of 255 has 5 bytes in the block: all of these fit into one of level 9.
    assert.ok(bytes.equals(await decodeAll(compress(bytes), { workers: 2 })));
  });
});

function repeated(bytes: Buffer, count: number): Buffer {
  return Buffer.alloc(bytes.length * count, bytes);
}

/**
 * A stream of one block in which the first code length goes up and down by one, often enough that
 * the block has this length: the format has no limit for that.
 */
function longBlock(lengthBytes: number): Buffer {
  const writer = new BitWriter();
  const column = Buffer.from('a column of some bytes');
  writeStream(writer, { level: 9, blocks: [{ column, origin: 3, code: 'flat' }] }, new Random(5));
  const short = writer.bytes();
  // The fifth-last mark is the beginning of the code lengths; the first has five bits.
  const at = (writer.marks.at(-5) ?? assert.fail()) + 5;
  const bit = (from: Buffer, index: number) => ((from[index >> 3] ?? 0) >> (7 - (index & 7))) & 1;
  // 10 is a step up, 11 a step down: the four bits repeat, so shifted bytes are all equal, too.
  const file = Buffer.alloc(lengthBytes + short.length, (0xbbbb >> (at & 7)) & 0xff);
  const put = (index: number, value: number) => {
    const mask = 0x80 >> (index & 7);
    file[index >> 3] = value === 1 ? (file[index >> 3] ?? 0) | mask : (file[index >> 3] ?? 0) & ~mask;
  };
  for (let i = 0; i < at; i++) put(i, bit(short, i));
  for (let i = at; i < short.length * 8; i++) put(i + lengthBytes * 8, bit(short, i));
  return file;
}
