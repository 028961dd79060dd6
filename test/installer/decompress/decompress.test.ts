import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { decompress } from '../../../installer/decompress/decompress.ts';
import { DecompressError } from '../../../installer/decompress/error.ts';
import { chunks, collect } from './bzip2/decode.ts';
import { Random } from './random.ts';

const random = new Random(1);
const image = Buffer.concat([
  random.bytes(300_000),
  Buffer.alloc(3_000_000),
  random.bytes(200_000, 5),
  Buffer.alloc(70_001),
  random.bytes(1001),
]);

const compressors: Record<string, readonly [string, ...string[]]> = {
  bzip2: ['bzip2', '-c'],
  gzip: ['gzip', '-c'],
  xz: ['xz', '-c', '-1'],
  zstd: ['zstd', '-c', '-q'],
  raw: ['cat'],
};

describe('decompress() tells the format by the first bytes and decodes', () => {
  for (const [format, command] of Object.entries(compressors)) {
    const file = run(command, image);

    test(`${format}, with zero runs as zero extents`, async () => {
      const zeroes: number[] = [];
      const source = async function* () {
        for await (const extent of decompress(chunks(file, 100_000), { workers: 1 })) {
          if (extent.kind === 'zero') zeroes.push(extent.lengthBytes);
          yield extent;
        }
      };
      assert.ok(image.equals(await collect(source())));
      assert.equal(zeroes.length, 2);
    });

    test(`${format}, given byte by byte at first`, async () => {
      const source = async function* () {
        yield* chunks(file.subarray(0, 100), 1);
        yield file.subarray(100);
      };
      assert.ok(image.equals(await collect(decompress(source(), { workers: 1 }))));
    });

    if (format === 'raw') continue;

    test(`${format}, several files after one another`, async () => {
      const both = Buffer.concat([run(command, image.subarray(0, 400_000)), run(command, image.subarray(400_000))]);
      assert.ok(image.equals(await collect(decompress(chunks(both, 65_536), { workers: 1 }))));
    });

    test(`${format}, but not when it is cut short`, async () => {
      for (const end of [10, Math.floor(file.length / 2), file.length - 5, file.length - 1]) {
        const cut = collect(decompress(chunks(file.subarray(0, end), 65_536), { workers: 1 }));
        await assert.rejects(cut, isDecompressError, `${end} of ${file.length} bytes`);
      }
    });

    test(`${format}, but not when a bit is wrong`, async () => {
      const damaged = Buffer.from(file);
      const at = Math.floor(file.length / 3);
      damaged[at] = (damaged[at] ?? 0) ^ 4;
      await assert.rejects(collect(decompress(chunks(damaged, 65_536), { workers: 1 })), isDecompressError);
    });

    test(`${format}, and passes on the failure of its source`, async () => {
      const source = async function* () {
        yield file.subarray(0, 1000);
        throw new Error('connection lost');
      };
      await assert.rejects(collect(decompress(source(), { workers: 1 })), /^Error: connection lost$/);
    });

    test(`${format}, until the signal is aborted`, async () => {
      const controller = new AbortController();
      const source = async function* () {
        yield file.subarray(0, 1000);
        controller.abort(new Error('no longer wanted'));
        yield file.subarray(1000);
      };
      const { signal } = controller;
      await assert.rejects(collect(decompress(source(), { workers: 1, signal })), /no longer wanted/);
    });
  }

  test('zstd after a skippable frame', async () => {
    const skippable = Buffer.from('502a4d1803000000616263', 'hex');
    const file = Buffer.concat([skippable, run(['zstd', '-c', '-q'], image)]);
    assert.ok(image.equals(await collect(decompress(chunks(file, 65_536)))));
  });

  test('zstd with a long window, if it is allowed', async () => {
    const file = run(['zstd', '-c', '-q', '--long=31'], image);
    assert.ok(image.equals(await collect(decompress(chunks(file, 65_536), { zstdWindowBytes: 2 ** 31 }))));
  });

  test('zstd with a window of 128 MiB, and of no more unless it is allowed', async () => {
    // RFC 8878, section 3.1.1.1: a frame of one empty block that asks for a window of 2^log bytes.
    const frame = (log: number) => Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, 1, 0, 0]);
    assert.equal((await collect(decompress(chunks(frame(27), 64)))).length, 0);
    await assert.rejects(collect(decompress(chunks(frame(28), 64))), {
      name: 'DecompressError',
      message:
        'cannot decode the image: zstd needs a window of more than 128 MiB of memory (allow it with --zstd-window 2GiB, or compress the image without --long)',
    });
  });

  test('xz with a dictionary of 64 MiB, and of no more than its memory limit', async () => {
    const file = (size: string) => run(['xz', '-c', `--lzma2=dict=${size}`], image);
    assert.ok(image.equals(await collect(decompress(chunks(file('64MiB'), 65_536)))));
    await assert.rejects(collect(decompress(chunks(file('512MiB'), 65_536))), {
      name: 'DecompressError',
      message:
        'cannot decode the image: xz needs more than 100 MiB of memory to decode it (compress the image with a preset of xz, such as -9)',
    });
  });

  for (const check of ['none', 'crc32', 'crc64', 'sha256']) {
    test(`xz with the check ${check}, in several blocks`, async () => {
      const file = run(['xz', '-c', '-1', `--check=${check}`, '--block-size=500000'], image);
      assert.ok(image.equals(await collect(decompress(chunks(file, 65_536)))));
    });
  }

  test('xz with a filter for machine code, and padding at the end', async () => {
    const file = Buffer.concat([run(['xz', '-c', '--x86', '--lzma2'], image), Buffer.alloc(8)]);
    assert.ok(image.equals(await collect(decompress(chunks(file, 65_536)))));
  });

  test('nothing from an empty file', async () => {
    assert.equal((await collect(decompress(chunks(Buffer.alloc(0), 1)))).length, 0);
  });
});

function run([program, ...options]: readonly [string, ...string[]], input: Buffer): Buffer {
  return execFileSync(program, options, { input, maxBuffer: 1 << 28 });
}

function isDecompressError(error: unknown): true {
  assert.ok(error instanceof DecompressError, String(error));
  assert.match(error.message, /^cannot decode the image/);
  return true;
}
