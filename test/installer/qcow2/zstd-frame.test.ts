import assert from 'node:assert/strict';
import { test } from 'node:test';
import { constants, zstdCompressSync } from 'node:zlib';
import { zstdFrameBytes } from '../../../installer/qcow2/zstd-frame.ts';
import { Random } from '../decompress/random.ts';

const random = new Random(1);
const contents = {
  nothing: Buffer.alloc(0),
  'one byte': Buffer.from('a'),
  'a text': Buffer.alloc(300, 'text '),
  zeroes: Buffer.alloc(2 ** 21),
  'random bytes': random.bytes(300_000),
};

for (const [name, content] of Object.entries(contents)) {
  for (const checksum of [0, 1]) {
    const frame = zstdCompressSync(content, { params: { [constants.ZSTD_c_checksumFlag]: checksum } });
    const title = checksum === 0 ? name : `${name}, with a checksum`;

    test(`zstdFrameBytes() finds the end of a frame of ${title}`, () => {
      assert.equal(zstdFrameBytes(frame), frame.length);
      assert.equal(zstdFrameBytes(Buffer.concat([frame, frame, Buffer.alloc(100)])), frame.length);
    });

    test(`zstdFrameBytes() finds no end in a part of a frame of ${title}`, () => {
      for (let length = 0; length < frame.length; length += 1 + Math.floor(length / 20))
        assert.equal(zstdFrameBytes(frame.subarray(0, length)), undefined, `${length} bytes`);
    });
  }
}

test('zstdFrameBytes() takes other bytes for no frame', () => {
  assert.equal(zstdFrameBytes(Buffer.alloc(100)), undefined);
});
