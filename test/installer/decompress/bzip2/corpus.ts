import { execFileSync } from 'node:child_process';
import { Random } from '../random.ts';
import { BitWriter, type BlockSpec, blockOf, type Fault, type StreamSpec, writeStream } from './encoder.ts';

export interface Case {
  readonly name: string;
  readonly file: Buffer;
}

/** Files of bzip2 and lbzip2, crafted ones, and damaged ones; the same in every run. */
export function* corpus(): Generator<Case> {
  yield* ordinary(new Random(1));
  yield* crafted(new Random(2), 100);
  yield* joined(new Random(3));
  yield* faulty(new Random(4));
  yield* truncated(new Random(5));
  yield* flipped(new Random(6), 120);
}

const faults: readonly Fault[] = [
  'crc',
  'magic',
  'origin',
  'no symbols',
  'one group',
  'seven groups',
  'no selectors',
  'selector',
  'few selectors',
  'length zero',
  'length 21',
  'unknown code',
  'long run',
];

const texts: Record<string, (random: Random) => Buffer> = {
  nothing: () => Buffer.alloc(0),
  'one byte': (random) => random.bytes(1),
  noise: (random) => random.bytes(random.between(100_000, 300_000)),
  'few letters': (random) => random.bytes(random.between(100_000, 300_000), 3),
  zeroes: (random) => Buffer.alloc(random.between(1_000_000, 5_000_000)),
  ones: (random) => Buffer.alloc(random.between(1_000_000, 3_000_000), 1),
  'runs around four': (random) =>
    Buffer.concat(Array.from({ length: 3000 }, () => Buffer.alloc(random.between(1, 7), random.below(3)))),
  'runs around 259': (random) =>
    Buffer.concat(Array.from({ length: 500 }, () => Buffer.alloc(random.between(250, 520), random.below(2)))),
  periodic: (random) => Buffer.alloc(random.between(100_000, 200_000), random.bytes(random.between(2, 300))),
  'noise and zeroes': (random) =>
    Buffer.concat(
      Array.from({ length: 8 }, (_, i) =>
        i % 2 === 0 ? random.bytes(random.between(1, 90_000)) : Buffer.alloc(random.between(1, 700_000)),
      ),
    ),
};

function* ordinary(random: Random): Generator<Case> {
  for (const program of ['bzip2', 'lbzip2']) {
    for (const [name, text] of Object.entries(texts)) {
      for (const level of [1, random.between(2, 8), 9]) {
        yield { name: `${program} -${level} of ${name}`, file: compress(program, text(random), level) };
      }
    }
  }
}

function* crafted(random: Random, count: number): Generator<Case> {
  for (let i = 0; i < count; i++) {
    const streams = Array.from({ length: random.between(1, 3) }, () => randomStream(random));
    yield { name: `crafted ${i}`, file: write(streams, random).bytes() };
  }
  const column = random.bytes(5000, 20);
  for (const extraSelectors of [1, 18_002 - 101, 32_000]) {
    const blocks = [{ column, origin: 17, extraSelectors, groups: 6 }];
    yield { name: `${extraSelectors} more selectors`, file: write([{ level: 9, blocks }], random).bytes() };
  }
  yield { name: 'a block as long as its level allows', file: write([fullStream(1, 100_000)], random).bytes() };
  yield { name: 'a block longer than its level allows', file: write([fullStream(1, 100_001)], random).bytes() };
  yield { name: 'a block as long as any may be', file: write([fullStream(9, 900_000)], random).bytes() };
  yield { name: 'a block longer than any may be', file: write([fullStream(9, 900_001)], random).bytes() };
  yield { name: 'what looks like a block within a block', file: falseMagic() };
}

function* joined(random: Random): Generator<Case> {
  const one = compress('bzip2', random.bytes(3000, 50), 1);
  const other = compress('lbzip2', random.bytes(250_000, 50), 2);
  const empty = compress('bzip2', Buffer.alloc(0), 9);
  const ends = [
    ...['', 'B', 'BZ', 'BZh', 'BZh9', 'BZh0', 'BZh:', 'BZx', 'Bzh9', 'BZh91AY&SY', 'garbage', '\0', '\0\0\0\0\0\0'],
    ...['BZh9 and more', '\x17\x72\x45\x38\x50\x90'],
  ];
  for (const end of ends) {
    const tail = Buffer.from(end, 'latin1');
    yield { name: `followed by ${JSON.stringify(end)}`, file: Buffer.concat([one, tail]) };
    yield { name: `empty, followed by ${JSON.stringify(end)}`, file: Buffer.concat([empty, tail]) };
    yield { name: `only ${JSON.stringify(end)}`, file: tail };
  }
  yield { name: 'two streams', file: Buffer.concat([one, other]) };
  yield {
    name: 'streams of all levels',
    file: Buffer.concat([1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => compress('bzip2', one, n))),
  };
  yield { name: 'many empty streams', file: Buffer.concat(Array.from({ length: 300 }, () => empty)) };
  yield { name: 'empty streams among others', file: Buffer.concat([empty, one, empty, empty, other, empty]) };
  yield { name: 'a stream after much garbage', file: Buffer.concat([one, Buffer.alloc(50_000, 7), other]) };
}

function* faulty(random: Random): Generator<Case> {
  for (const fault of faults) {
    for (const position of [0, 2]) {
      const blocks = Array.from({ length: 4 }, (_, i) => {
        const block = randomBlock(random, 1000);
        return i === position ? { ...block, fault } : block;
      });
      const file = write([{ level: 9, blocks }], random).bytes();
      yield { name: `fault in block ${position}: ${fault}`, file };
    }
  }
  for (const fault of ['crc', 'magic', 'level'] as const) {
    const good = randomStream(random);
    yield { name: `fault in a stream: ${fault}`, file: write([{ ...good, fault }], random).bytes() };
    yield { name: `fault in the second stream: ${fault}`, file: write([good, { ...good, fault }], random).bytes() };
  }
  const unfinished = { column: Buffer.from('aaaa'), origin: 0 };
  yield { name: 'a block that ends within a run', file: write([{ level: 1, blocks: [unfinished] }], random).bytes() };
}

function* truncated(random: Random): Generator<Case> {
  for (let i = 0; i < 4; i++) {
    const writer = write([randomStream(random), randomStream(random)], random);
    const file = writer.bytes();
    const ends = new Set(writer.marks.flatMap((bit) => [Math.floor(bit / 8), Math.ceil(bit / 8) + 1]));
    for (const end of ends) yield { name: `file ${i} cut at byte ${end}`, file: file.subarray(0, end) };
  }
}

function* flipped(random: Random, count: number): Generator<Case> {
  const files = Array.from({ length: 8 }, () => write([randomStream(random)], random).bytes());
  for (let i = 0; i < count; i++) {
    const file = Buffer.from(random.pick(files));
    const bit = random.chance(2) ? random.below(Math.min(900, file.length * 8)) : random.below(file.length * 8);
    file[bit >> 3] = (file[bit >> 3] ?? 0) ^ (0x80 >> (bit & 7));
    yield { name: `flipped ${i}: bit ${bit}`, file };
  }
}

export function randomStream(random: Random): StreamSpec {
  const blocks = Array.from({ length: random.between(0, 5) }, () => randomBlock(random, 3000));
  return { level: random.between(1, 9), blocks };
}

/** A text cut into a block as encoders do, or any bytes taken for a sorted text. */
export function randomBlock(random: Random, limit: number): BlockSpec {
  const length = random.between(1, limit);
  const alphabet = random.pick([1, 2, 5, 40, 256]);
  const options = {
    randomised: random.chance(4),
    groups: random.between(2, 6),
    unused: random.chance(3) ? [...random.bytes(random.below(20))] : [],
    extraSelectors: random.chance(5) ? random.below(50) : 0,
    code: random.pick(['flat', 'huffman', 'random', 'oversubscribed'] as const),
    detours: random.chance(4),
  };
  if (random.chance(2)) return { ...blockOf(random.bytes(length, alphabet), options), ...options };
  return { column: random.bytes(length, alphabet), origin: random.below(length), ...options };
}

/**
 * A block of the given length, whose text never has four equal bytes in a row, however long it is.
 */
function fullStream(level: number, length: number): StreamSpec {
  // One cycle of two alternating bytes: the first column is half a, half b, and each row is
  // followed by one of the other half.
  const column = Buffer.alloc(length, 'a');
  column.fill('b', 0, Math.floor(length / 2));
  return { level, blocks: [{ column, origin: 0, code: 'huffman' }] };
}

/**
 * Blocks whose Huffman codes are bytes, and spell what a block or the end of a stream begins with,
 * again and again.
 */
function falseMagic(): Buffer {
  const random = new Random(7);
  // 254 bytes in use make 256 symbols; in a flat code each of them is eight bits, equal to its
  // number.
  const used = Array.from({ length: 254 }, (_, byte) => byte);
  const blocks = Array.from({ length: 12 }, () => {
    const spelled = Array.from({ length: random.between(20, 60) }, () => [
      ...Array.from({ length: random.below(30) }, () => random.between(2, 254)),
      ...random.pick([
        [0x31, 0x41, 0x59, 0x26, 0x53, 0x59],
        [0x17, 0x72, 0x45, 0x38, 0x50, 0x90],
      ]),
    ]).flat();
    const order = [...used];
    const column = spelled.map((symbol) => {
      const [byte = 0] = order.splice(symbol - 1, 1);
      order.unshift(byte);
      return byte;
    });
    return { column: Buffer.from(column), origin: 0, unused: used, code: 'flat' as const };
  });
  return write([{ level: 9, blocks }], random).bytes();
}

function write(streams: readonly StreamSpec[], random: Random): BitWriter {
  const writer = new BitWriter();
  for (const stream of streams) writeStream(writer, stream, random);
  return writer;
}

export function compress(program: string, bytes: Buffer, level: number): Buffer {
  return execFileSync(program, ['-c', `-${level}`], { input: bytes, maxBuffer: 1 << 28 });
}
