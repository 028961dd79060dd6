/** Decoders of disk images. Where Node has a decoder of its own, both must agree. */
import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { bzip2 } from '../../../installer/decompress/bzip2/bzip2.ts';
import { decompress } from '../../../installer/decompress/decompress.ts';
import { DecompressError } from '../../../installer/decompress/error.ts';
import { gzip } from '../../../installer/decompress/gzip.ts';
import { xz } from '../../../installer/decompress/xz/xz.ts';
import { zstd } from '../../../installer/decompress/zstd.ts';
import type { Extent } from '../../../installer/extent.ts';
import { BitWriter, blockOf, writeStream } from '../../installer/decompress/bzip2/encoder.ts';
import { inThisThread } from '../../installer/decompress/bzip2/in-this-thread.ts';
import { Random } from '../../installer/decompress/random.ts';
import { require, type Target } from '../target.ts';

const MiB = 1024 * 1024;
/** Some bytes decode to gigabytes: what follows is not looked at. */
const maxDecodedBytes = 4 * MiB;
const zeroes = Buffer.alloc(64 * 1024);

type Decoded = { readonly kind: 'all' | 'beginning'; readonly hash: string } | { readonly kind: 'refused' };

async function decoded(extents: AsyncIterable<Extent>): Promise<Decoded> {
  const hash = createHash('sha1');
  let sizeBytes = 0;
  const take = (bytes: Uint8Array) => {
    const part = bytes.subarray(0, maxDecodedBytes - sizeBytes);
    hash.update(part);
    sizeBytes += part.length;
  };
  try {
    for await (const extent of extents) {
      if (extent.kind === 'data') {
        take(extent.bytes);
        extent.release();
      } else {
        for (let left = extent.lengthBytes; left > 0 && sizeBytes < maxDecodedBytes; left -= zeroes.length)
          take(zeroes.subarray(0, left));
      }
      if (sizeBytes === maxDecodedBytes) return { kind: 'beginning', hash: hash.digest('hex') };
    }
  } catch (error) {
    if (error instanceof DecompressError) return { kind: 'refused' };
    throw error;
  }
  return { kind: 'all', hash: hash.digest('hex') };
}

/** What Node makes of a file; `undefined`: it is larger than what is looked at. */
function decodedByNode(decode: () => Buffer): Decoded | undefined {
  try {
    return { kind: 'all', hash: createHash('sha1').update(decode()).digest('hex') };
  } catch (error) {
    const isTooLarge = error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE';
    return isTooLarge ? undefined : { kind: 'refused' };
  }
}

function requireSame(one: Decoded, other: Decoded, between: string): void {
  const same =
    one.kind === other.kind && (one.kind === 'refused' || (other.kind !== 'refused' && one.hash === other.hash));
  require(same, () => `${between} differ: ${JSON.stringify(one)}, ${JSON.stringify(other)}`);
}

async function* chunks(bytes: Buffer, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

/** Chunks as a socket may give them: their borders must not matter. */
const inPieces = (input: Buffer) => chunks(input, 1 + (input.length % 251));
const atOnce = (input: Buffer) => chunks(input, 64 * 1024);

const random = new Random(1);
const contents = [
  Buffer.alloc(0),
  Buffer.from('a'),
  Buffer.alloc(3000, 'abcab'),
  random.bytes(300, 3),
  Buffer.alloc(70_000),
];

function bzip2Stream(text: Buffer): Buffer {
  const writer = new BitWriter();
  writeStream(writer, { level: 1, blocks: text.length === 0 ? [] : [blockOf(text)] }, random);
  return writer.bytes();
}

export const bzip2Target: Target = {
  name: 'bzip2',
  seeds: [...contents.slice(0, 4).map(bzip2Stream), Buffer.concat(contents.slice(1, 3).map(bzip2Stream))],
  words: ['BZh9', 'BZh1', '1AY&SY', '\x17rE8P\x90'],
  maxBytes: 8192,
  refusals: [DecompressError],
  microsecondsPerByte: 400,
  async check(input) {
    const options = { workers: 1, startWorker: inThisThread };
    const byWasm = await decoded(bzip2(atOnce(input), { ...options, kernel: 'wasm' }));
    const pieces = { pieceBytes: 40 + (input.length >> 1), overlapBytes: 16 };
    requireSame(byWasm, await decoded(bzip2(inPieces(input), { ...options, kernel: 'wasm', ...pieces })), 'pieces');
    requireSame(byWasm, await decoded(bzip2(atOnce(input), { ...options, kernel: 'typescript' })), 'the two kernels');
  },
};

export const gzipTarget: Target = {
  name: 'gzip',
  seeds: [
    ...contents.flatMap((content) => [gzipSync(content), gzipSync(content, { level: 0 })]),
    Buffer.concat([gzipSync('a'), Buffer.alloc(5), gzipSync('b'), Buffer.from('rest')]),
    // With each field of a header.
    Buffer.concat([
      Buffer.from('1f8b081e000000000003', 'hex'),
      Buffer.from('\x02\0abname\0comment\0\0\0', 'latin1'),
      gzipSync('named').subarray(10),
    ]),
  ],
  words: ['\x1f\x8b\x08', '\0\0\xff\xff'],
  refusals: [DecompressError],
  microsecondsPerByte: 100,
  async check(input) {
    let warnings = 0;
    const ours = await decoded(gzip(atOnce(input), undefined, () => warnings++));
    requireSame(ours, await decoded(gzip(inPieces(input), undefined)), 'whole and in pieces');
    if (ours.kind === 'beginning') return;
    const byNode = decodedByNode(() => gunzipSync(input, { maxOutputLength: maxDecodedBytes }));
    // Node has rules of its own for what follows a member.
    const hasRest = warnings > 0 || input.lastIndexOf(Buffer.of(0x1f, 0x8b)) > 0 || input.at(-1) === 0;
    if (byNode !== undefined && !hasRest) requireSame(ours, byNode, 'ours and that of zlib');
  },
};

export const xzTarget: Target = {
  name: 'xz',
  seeds: [
    // `printf aaaa | xz`, without blocks, with CRC32, with two blocks and with two streams.
    ...[
      '/Td6WFoAAATm1rRGBMAIBCEBFgAAAAAAAAAAABqVHSQBAANhYWFhAOd62tR2wEfiAAEkBKMXlCkftvN9AQAAAAAEWVo=',
      '/Td6WFoAAATm1rRGAAAAABzfRCEftvN9AQAAAAAEWVo=',
    ].map((text) => Buffer.from(text, 'base64')),
  ],
  words: ['\xfd7zXZ\0', 'YZ'],
  maxBytes: 8192,
  refusals: [DecompressError],
  microsecondsPerByte: 100,
  async check(input) {
    const options = { workers: 1 };
    const ours = await decoded(xz(atOnce(input), options));
    requireSame(ours, await decoded(xz(inPieces(input), options)), 'whole and in pieces');
  },
};

export const zstdTarget: Target = {
  name: 'zstd',
  seeds: [
    ...contents.map((content) => zstdCompressSync(content)),
    Buffer.concat([zstdCompressSync('a'), Buffer.from('502a4d1803000000616263', 'hex'), zstdCompressSync('b')]),
  ],
  words: ['(\xb5/\xfd', 'P*M\x18'],
  refusals: [DecompressError],
  microsecondsPerByte: 100,
  async check(input) {
    let warnings = 0;
    const onWarning = () => warnings++;
    const ours = await decoded(zstd(atOnce(input), undefined, 8 * MiB, onWarning));
    requireSame(ours, await decoded(zstd(inPieces(input), undefined, 8 * MiB)), 'whole and in pieces');
    // That of Node ends with the first frame.
    const isOneFrame = input.indexOf('(\xb5/\xfd', 1, 'latin1') < 0 && !input.subarray(1).includes('*M\x18');
    if (ours.kind !== 'all' || warnings > 0 || !isOneFrame) return;
    const byNode = decodedByNode(() => zstdDecompressSync(input, { maxOutputLength: maxDecodedBytes }));
    if (byNode?.kind === 'all') requireSame(ours, byNode, 'ours and that of zstd');
  },
};

export const formatTarget: Target = {
  name: 'image-format',
  seeds: ['PK\x03\x04', 'QFI\xfb', `${'\0'.repeat(512)}EFI PART`, Buffer.alloc(600, 'ustar'), '#!ipxe', '<html>'],
  words: ['BZh9', '\x1f\x8b', '\xfd7zXZ\0', 'EFI PART', 'ustar', 'conectix', 'KDMV', 'vhdxfile'],
  maxBytes: 16 * 1024,
  refusals: [DecompressError],
  microsecondsPerByte: 400,
  async check(input) {
    const options = { workers: 1, zstdWindowBytes: 8 * MiB };
    let sizeBytes = 0;
    for await (const extent of decompress(inPieces(input), { ...options, name: 'image.br' })) {
      sizeBytes += extent.kind === 'data' ? extent.bytes.length : extent.lengthBytes;
      if (extent.kind === 'data') extent.release();
      if (sizeBytes > maxDecodedBytes) return;
    }
  },
};
