import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { DecompressError } from '../../../installer/decompress/error.ts';
import { SourceReader } from '../../../installer/decompress/source-reader.ts';
import { blocksOf } from '../../../installer/decompress/xz/blocks.ts';
import { xz } from '../../../installer/decompress/xz/xz.ts';
import { chunks, collect } from './bzip2/decode.ts';
import { Random } from './random.ts';

const random = new Random(5);
const content = Buffer.concat([random.bytes(300_000), Buffer.alloc(400_000), random.bytes(200_000, 9)]);

function compressed(...options: string[]): Buffer {
  return execFileSync('xz', ['-c', '-1', ...options], { input: content, maxBuffer: 2 ** 30 });
}

const decoded = (file: Buffer, workers: number, chunkBytes = 65_536) =>
  collect(xz(chunks(file, chunkBytes), { workers }));

const files: Readonly<Record<string, Buffer>> = {
  'blocks whose headers have sizes': compressed('-T2', '--block-size=100000'),
  'blocks whose headers have none': compressed('-T1', '--block-size=100000'),
  'blocks smaller than a job': compressed('--block-size=20000'),
  'blocks of all kinds': compressed('--block-list=1000,200000,3000,100000,5,0'),
  'one block': compressed(),
  'filters before the last': compressed('--delta=dist=4', '--x86', '--lzma2', '--block-size=100000'),
};

describe('xz() decodes blocks by several threads, in order', () => {
  for (const [name, file] of Object.entries(files)) {
    test(name, async () => {
      for (const [workers, chunkBytes] of [
        [1, 65_536],
        [2, 100_003],
        [3, 777],
      ] as const)
        assert.ok(content.equals(await decoded(file, workers, chunkBytes)), `${workers} threads`);
    });
  }

  test('several streams, some of them empty, with padding', async () => {
    const empty = execFileSync('xz', ['-c'], { input: '' });
    const parts = [files['one block'], empty, Buffer.alloc(8), files['blocks of all kinds'], empty, Buffer.alloc(4)];
    const file = Buffer.concat(parts.map((part) => part ?? assert.fail()));
    assert.ok(Buffer.concat([content, content]).equals(await decoded(file, 2)));
  });
});

test('blocksOf() finds the blocks that xz made, each as a stream that xz decodes', async () => {
  const file = files['blocks whose headers have none'] ?? assert.fail();
  const contents: Buffer[] = [];
  for await (const { parts } of blocksOf(new SourceReader(chunks(file, 5000)), {})) {
    const stream: Uint8Array[] = [];
    for await (const part of parts) stream.push(part);
    contents.push(execFileSync('xz', ['-dc'], { input: Buffer.concat(stream), maxBuffer: 2 ** 30 }));
  }
  // Three of noise, then those of zeroes together with one of noise.
  const lengths = contents.map(({ length }) => length);
  assert.deepEqual(lengths.slice(0, 3), [100_000, 100_000, 100_000]);
  assert.ok((lengths[3] ?? 0) > 400_000, String(lengths));
  assert.ok(content.equals(Buffer.concat(contents)));
});

test('xz() refuses what xz refuses: a wrong byte of a header, a block, an index or a footer', async () => {
  const small = execFileSync('xz', ['-c', '-1', '--block-size=3000'], { input: content.subarray(0, 9000) });
  // Stream header, block header; blocks; index of three blocks, its checksum, footer.
  const fromEnd = [36, 35, 30, 20, 15, 12, 8, 4, 2].map((bytes) => small.length - bytes);
  for (const at of [7, 9, 12, 13, 20, 2000, 8000, ...fromEnd]) {
    const file = Buffer.from(small);
    file[at] = (file[at] ?? 0) ^ 0x10;
    assert.throws(() => execFileSync('xz', ['-dc'], { input: file, stdio: 'pipe' }), `byte ${at}`);
    await assert.rejects(decoded(file, 1), DecompressError, `byte ${at}`);
  }
  const file = Buffer.from(files['blocks whose headers have sizes'] ?? assert.fail());
  file.writeUInt8(file.readUInt8(250_000) ^ 1, 250_000);
  await assert.rejects(decoded(file, 2), (error) => {
    assert.ok(error instanceof DecompressError);
    assert.ok((error.offsetBytes ?? 0) > 200_000 && (error.offsetBytes ?? 0) <= 310_000, `byte ${error.offsetBytes}`);
    return true;
  });
});

test('xz() refuses a block that needs too much memory, also in a thread', async () => {
  const file = execFileSync('xz', ['-c', '--lzma2=dict=512MiB'], { input: content, maxBuffer: 2 ** 30 });
  await assert.rejects(decoded(file, 1), /xz needs more than 100 MiB of memory to decode it/);
});
