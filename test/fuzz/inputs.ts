/** Inputs by fast-check: those of a target's grammar, and seeds with some changes. */
import fc, { type Arbitrary } from 'fast-check';
import type { Target } from './target.ts';

const defaultMaxBytes = 64 * 1024;

export function maxBytesOf({ maxBytes = defaultMaxBytes }: Target): number {
  return maxBytes;
}

/**
 * Words that have a meaning somewhere: names of `Object.prototype`, texts that end or separate
 * something, numbers at the borders of their types, what a terminal obeys.
 */
const commonWords = [
  ...['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'valueOf', '{"__proto__":{"a":1}}'],
  ...['', '\0', '\n', '\r\n', '\t', ' ', '"', "'", '\\', '%', '%zz', '%00', '{', '}', '[', ']', '<', ':', ',', '='],
  ...['0', '-1', '1e309', 'NaN', 'null', 'true', '[]', '{}', '""', '4294967296', '9007199254740993'],
  ...[
    '18446744073709551615',
    '../',
    '/',
    '//',
    '\x1b[2J',
    '\u202e',
    '\u2028',
    '\ufeff',
    '\ud800',
    '\u{1f600}',
    'ß',
    'İ',
  ],
];

interface Change {
  readonly kind: 'bit' | 'byte' | 'number' | 'word' | 'cut' | 'remove' | 'copy' | 'repeat' | 'splice' | 'random';
  /** Where: from 0 to 1. */
  readonly at: number;
  readonly length: number;
  readonly value: number;
}

const change: Arbitrary<Change> = fc.record({
  kind: fc.constantFrom(
    ...(['bit', 'bit', 'byte', 'number', 'word', 'word', 'word', 'cut', 'remove', 'copy', 'copy'] as const),
    ...(['repeat', 'splice', 'random'] as const),
  ),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  length: fc.oneof(fc.nat(8), fc.nat(64), fc.nat(4096)),
  value: fc.nat(),
});

/** @param pool what is changed; at least one */
export function inputsOf(target: Target, pool: readonly Buffer[]): Arbitrary<Buffer> {
  const maxBytes = maxBytesOf(target);
  const words = [...commonWords, ...(target.words ?? []), ...(target.words ?? [])].map((word) => Buffer.from(word));
  const changed = fc
    .tuple(fc.nat(pool.length - 1), fc.array(change, { maxLength: 6 }))
    .map(([index, changes]) =>
      changes.reduce((bytes, one) => apply(bytes, one, words, pool, maxBytes), pool[index] ?? Buffer.alloc(0)),
    );
  if (target.generated === undefined) return changed;
  const generated = target.generated.map((input) => Buffer.from(input).subarray(0, maxBytes));
  return fc.oneof({ weight: 2, arbitrary: changed }, { weight: 1, arbitrary: generated });
}

const numbers = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

function apply(
  bytes: Buffer,
  { kind, at, length, value }: Change,
  words: readonly Buffer[],
  pool: readonly Buffer[],
  maxBytes: number,
): Buffer {
  const offset = Math.min(bytes.length, Math.floor(at * (bytes.length + 1)));
  const [before, after] = [bytes.subarray(0, offset), bytes.subarray(offset)];
  const part = after.subarray(0, length);
  const insert = (inserted: Buffer, skip = 0) =>
    Buffer.concat([before, inserted.subarray(0, maxBytes), after.subarray(skip)]).subarray(0, maxBytes);
  switch (kind) {
    case 'bit':
      return after.length === 0 ? bytes : insert(Buffer.of((after[0] ?? 0) ^ (1 << (value & 7))), 1);
    case 'byte':
      return insert(Buffer.of(value & 255), 1);
    case 'number': {
      const number = Buffer.alloc(8);
      const which = numbers[value % numbers.length] ?? 0;
      if ((value & 0x100) !== 0) number.writeUInt32BE(which);
      else number.writeUInt32LE(which);
      const width = [1, 2, 4, 8][(value >> 9) & 3] ?? 1;
      return insert(number.subarray(0, width), width);
    }
    case 'word':
      return insert(words[value % words.length] ?? Buffer.alloc(0), (value & 0x10000) === 0 ? 0 : length);
    case 'cut':
      return before;
    case 'remove':
      return insert(Buffer.alloc(0), length);
    case 'copy': {
      const from = value % (bytes.length + 1);
      return insert(bytes.subarray(from, from + length));
    }
    case 'repeat': {
      // Often up to the limit: what takes time by the square of the input shows only there.
      const wanted = (value & 1) === 0 ? maxBytes - bytes.length : value % 1024;
      const times = Math.max(0, Math.floor(wanted / Math.max(1, part.length)));
      return insert(Buffer.concat(Array<Buffer>(Math.min(times, maxBytes)).fill(part)));
    }
    case 'splice': {
      const other = pool[value % pool.length] ?? bytes;
      const from = Math.floor(at * other.length);
      return insert(other.subarray(from, from + Math.max(length, 16)), (value & 1) === 0 ? 0 : length);
    }
    case 'random':
      return insert(
        Buffer.from(Array.from({ length: Math.min(length, 16) }, (_, i) => (value * (i + 7)) >> (i & 7))),
        length,
      );
  }
}

/**
 * Texts of JSON with these keys, at each place also such as no program writes: keys twice, keys of
 * `Object.prototype`, wrong types.
 */
export function jsonWith(keys: readonly string[], values: readonly string[]): Arbitrary<string> {
  const names = [...keys, ...keys, '__proto__', 'constructor', 'toString'];
  const scalars = [
    ...values.map((value) => JSON.stringify(value)),
    'null',
    'true',
    '0',
    '-1',
    '1.5',
    '1e400',
    '12345',
    '""',
  ];
  const { value } = fc.letrec<{ value: string; object: string; array: string }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.constantFrom(...scalars),
      tie('object'),
      tie('array'),
    ),
    object: fc
      .array(fc.tuple(fc.constantFrom(...names), tie('value')), { maxLength: 8 })
      .map((entries) => `{${entries.map(([name, content]) => `${JSON.stringify(name)}:${content}`).join(',')}}`),
    array: fc.array(tie('value'), { maxLength: 5 }).map((items) => `[${items.join(',')}]`),
  }));
  return value;
}

/** Texts of some of these words in any order. */
export function wordsOf(words: readonly string[], maxLength = 12): Arbitrary<string> {
  return fc.array(fc.constantFrom(...words, ...commonWords), { maxLength }).map((parts) => parts.join(''));
}
