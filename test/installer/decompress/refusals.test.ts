/** What is no image, or none that can be decoded: refused in plain words, with what to do. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { OperationError } from '../../../errors/operation-error.ts';
import { decompress } from '../../../installer/decompress/decompress.ts';
import { DecompressError } from '../../../installer/decompress/error.ts';
import { readImageTable } from '../../../installer/disk/write.ts';
import { chunks, collect } from './bzip2/decode.ts';
import { Random } from './random.ts';

const random = new Random(9);
const content = random.bytes(100_000);
const unpack = 'unpack it: an image is raw, or compressed with bzip2, gzip, xz or zstd';
const convert = 'convert it with qemu-img convert -O raw';
const brotli = 'a brotli file by its name';

/** The format of the frame is in RFC 8878, section 3.1.1: one empty block. */
const withDictionary = Buffer.from('28b52ffd210500010000', 'hex');
/** Of `xz --lzma2=dict=512MiB`. */
const largeDictionary = Buffer.from(
  'fd377a585a000004e6d6b44602002101220000008240acdc01000261626300002776271a4a09d82c00011b030b2fb9101fb6f37d010000000004595a',
  'hex',
);

describe('decompress() names containers that are no image of a disk, and says what to do', () => {
  const beginnings: readonly (readonly [string, Buffer, string])[] = [
    ['a zip archive', hex('504b030414000000'), unpack],
    ['a zip archive', hex('504b0506000000000000'), unpack],
    ['a 7z archive', hex('377abcaf271c0004'), unpack],
    ['an lzip file', hex('4c5a49500114'), unpack],
    ['an lz4 file', hex('04224d186440a7'), unpack],
    ['an lz4 file', hex('02214c18'), unpack],
    ['an lzop file', hex('894c5a4f000d0a1a0a'), unpack],
    ['an lzma file', hex('5d00008000ffffffffffffffff003fbb'), unpack],
    ['an lzma file', hex('5d00000001a086010000000000003fbb'), unpack],
    ['a tar archive', Buffer.concat([Buffer.alloc(257), Buffer.from('ustar')]), unpack],
    ['a qcow2 image', hex('514649fb00000003'), convert],
    ['a VMDK image', hex('4b444d5601000000'), convert],
    ['a VHDX image', hex('7668647866696c65'), convert],
    ['a VHD image', Buffer.from('conectix'), convert],
    ['a VDI image', Buffer.concat([Buffer.alloc(64), hex('7f10dabe')]), convert],
  ];
  for (const [name, beginning, hint] of beginnings) {
    test(`${name}: ${beginning.subarray(0, 4).toString('hex')}…`, async () => {
      await refused(Buffer.concat([beginning, content]), `it is ${name}, not a disk image`, hint);
      await refused(beginning, `it is ${name}, not a disk image`, hint);
    });
  }

  test('brotli, which has no first bytes of its own, by the name of the file or URL', async () => {
    for (const name of ['/images/image.br', 'https://mirror/image.bin.br?x=1'])
      await refused(content, `it is ${brotli}, not a disk image`, unpack, name);
  });

  test('but not what has a partition table, or the name only', async () => {
    const raw = Buffer.concat([Buffer.from('504b0304', 'hex'), Buffer.alloc(508), Buffer.from('EFI PART'), content]);
    assert.ok(raw.equals(await collect(decompress(chunks(raw, 1000), { name: 'image.br' }))));
    const compressed = gzipSync(content);
    assert.ok(content.equals(await collect(decompress(chunks(compressed, 1000), { name: 'image.br' }))));
  });
});

test('zstd: a frame that was compressed with a dictionary', async () => {
  const why = 'zstd needs the dictionary that it was compressed with';
  await refused(withDictionary, why, 'compress the image without -D');
});

test('xz: a dictionary that needs more than the memory limit', async () => {
  const hint = 'compress the image with a preset of xz, such as -9';
  await refused(largeDictionary, 'xz needs more than 100 MiB of memory to decode it', hint);
});

const files = {
  gzip: gzipSync(content),
  zstd: zstdCompressSync(content),
  xz: largeDictionary,
  bzip2: Buffer.from('BZh91AY&SY', 'latin1'),
};
for (const [format, file] of Object.entries(files)) {
  test(`${format}: cut within its beginning or its end, or without its beginning, it is refused with what to do`, async () => {
    const cuts = Array.from({ length: 40 }, (_, i) => [0, i + 1] as const);
    const headless = Array.from({ length: 12 }, (_, i) => [i + 1, file.length] as const);
    for (const [from, to] of [...cuts, ...headless, [0, file.length - 1] as const]) {
      const part = file.subarray(from, to);
      if (part.length === 0) continue;
      const disk = { path: '/dev/disk', sizeBytes: 2 ** 30, sectorSizeBytes: 512 };
      await assert.rejects(
        readImageTable(decompress(chunks(part, part.length > 100 ? 4096 : 7), { workers: 1 }), disk),
        (error) => {
          assert.ok(error instanceof OperationError, String(error));
          const { what, target, why, hint } = error;
          for (const text of [what, target, why, hint]) assert.ok(text !== undefined && text.length > 2);
          return true;
        },
      );
    }
  });
}

async function refused(file: Buffer, why: string, hint: string, name = ''): Promise<void> {
  await assert.rejects(collect(decompress(chunks(file, 100), { name })), (error) => {
    assert.ok(error instanceof DecompressError && error instanceof OperationError, String(error));
    assert.deepEqual([error.what, error.target, error.why, error.hint], ['decode', 'the image', why, hint]);
    return true;
  });
}

function hex(text: string): Buffer {
  return Buffer.from(text, 'hex');
}
