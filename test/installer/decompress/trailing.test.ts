/** What follows an image: padding, further files, and what is neither. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { decompress } from '../../../installer/decompress/decompress.ts';
import { DecompressError } from '../../../installer/decompress/error.ts';
import { chunks, collect } from './bzip2/decode.ts';
import { Random } from './random.ts';

const random = new Random(7);
const image = random.bytes(300_000);

const compressors: Record<string, readonly [string, ...string[]]> = {
  bzip2: ['bzip2', '-c'],
  gzip: ['gzip', '-c'],
  xz: ['xz', '-c', '-1'],
  zstd: ['zstd', '-c', '-q'],
};

function compress(format: string, bytes: Buffer): Buffer {
  const [program, ...args] = compressors[format] ?? assert.fail(format);
  return execFileSync(program, args, { input: bytes, maxBuffer: 2 ** 30 });
}

async function decode(source: AsyncIterable<Uint8Array>, isSigned = true) {
  const warnings: string[] = [];
  const onWarning = (message: string) => void warnings.push(message);
  return { bytes: await collect(decompress(source, { workers: 1, onWarning, isSigned })), warnings };
}

/** Two chunks: the first ends at an offset. */
async function* splitAt(bytes: Buffer, at: number): AsyncGenerator<Buffer> {
  yield bytes.subarray(0, at);
  yield bytes.subarray(at);
}

for (const format of Object.keys(compressors)) {
  test(`${format}: what is not of the format is read to its end, with a warning, however it arrives`, async () => {
    const file = compress(format, image);
    const garbage = Buffer.from('this is no image at all, and not short either');
    const both = Buffer.concat([file, garbage]);
    const ways = [splitAt(both, file.length), splitAt(both, file.length + 3), splitAt(both, file.length - 1)];
    for (const source of [...ways, chunks(both, 65_536)]) {
      const { bytes, warnings } = await decode(source);
      assert.ok(image.equals(bytes));
      assert.deepEqual(warnings, [
        `the image is followed by ${garbage.length} bytes that are not ${format}; they are ignored`,
      ]);
    }
  });

  test(`${format}: an error names the byte`, async () => {
    const file = compress(format, image);
    const damaged = Buffer.from(file);
    damaged.fill(0x55, file.length >> 1, (file.length >> 1) + 64);
    await assert.rejects(
      decode(chunks(damaged, 65_536)),
      (error) =>
        error instanceof DecompressError && /\bbyte \d+/.test(error.message) && error.offsetBytes !== undefined,
    );
  });
}

test('gzip: zeroes after a member are padding, however many and however they arrive', async () => {
  const file = compress('gzip', image);
  for (const count of [1, 600_000, 1_000_000]) {
    const padded = Buffer.concat([file, Buffer.alloc(count)]);
    const ways = [...[-9, -8, -1, 0, 1, 7].map((at) => splitAt(padded, file.length + at)), chunks(padded, 65_536)];
    for (const source of ways) {
      const { bytes, warnings } = await decode(source);
      assert.ok(image.equals(bytes));
      assert.deepEqual(warnings, []);
    }
  }
});

test('gzip: another member after padding is decoded, and what is none is not dropped without a word', async () => {
  const padded = [compress('gzip', image), Buffer.alloc(1000)];
  const more = await decode(chunks(Buffer.concat([...padded, compress('gzip', image)]), 2 ** 20));
  assert.ok(Buffer.concat([image, image]).equals(more.bytes));
  const { warnings } = await decode(chunks(Buffer.concat([...padded, Buffer.from('x')]), 2 ** 20));
  assert.deepEqual(warnings, ['the image is followed by 1 bytes that are not gzip; they are ignored']);
});

test('gzip: a header with a name, a comment and more, given byte by byte', async () => {
  const file = compress('gzip', image);
  const extra = Buffer.concat([Buffer.of(3, 0), Buffer.from('abc'), Buffer.from('name\0comment\0'), Buffer.of(1, 2)]);
  const header = Buffer.from(file.subarray(0, 10));
  header[3] = 4 | 8 | 16 | 2;
  const whole = Buffer.concat([header, extra, file.subarray(10)]);
  async function* slowly() {
    yield* chunks(whole.subarray(0, 40), 1);
    yield whole.subarray(40);
  }
  assert.ok(image.equals((await decode(slowly())).bytes));
});

test('gzip: a wrong checksum or length is an error', async () => {
  const file = compress('gzip', image);
  for (const at of [file.length - 8, file.length - 4]) {
    const damaged = Buffer.from(file);
    damaged.writeUInt8(damaged.readUInt8(at) ^ 1, at);
    await assert.rejects(decode(chunks(damaged, 65_536)), /the checksum of what begins at byte 0 is wrong/);
  }
});

test('xz with a check of an unknown type is refused without a signature, and warned of with one', async () => {
  const file = compress('xz', image);
  // Header and footer of the stream have the type (the .xz file format, section 2.1.1).
  file[7] = 5;
  file.writeUInt32LE(crc32(file.subarray(6, 8)), 8);
  file[file.length - 3] = 5;
  file.writeUInt32LE(crc32(file.subarray(file.length - 8, file.length - 2)), file.length - 12);
  const { bytes, warnings } = await decode(chunks(file, 65_536));
  assert.ok(image.equals(bytes));
  assert.deepEqual(warnings, [
    'the xz data from byte 12 on has a checksum of an unknown type; only the signature is verified',
  ]);
  await assert.rejects(decode(chunks(file, 65_536), false), /a checksum of an unknown type, and there is no signature/);
});
