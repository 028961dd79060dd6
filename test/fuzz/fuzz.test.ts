/**
 * Each target of `make fuzz` for a moment, with inputs that are the same in every run. Limits of
 * time are those of the CPU: a busy machine changes nothing.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readCorpus } from './corpus.ts';
import { examine } from './examine.ts';
import { fuzz } from './fuzz.ts';
import { type Target, Violation } from './target.ts';
import { loadTarget, targetNames } from './targets.ts';

const runs = 60;

describe('no input makes a border crash, hang, take much memory or change a prototype', () => {
  for (const name of targetNames) {
    test(name, async () => {
      const target = await loadTarget(name);
      const { violation } = await fuzz(target, await readCorpus(name), { seed: 1, maxRuns: runs });
      assert.deepEqual(violation?.what, undefined, JSON.stringify(violation?.input.toString('latin1')));
    });
  }
});

const faults: Readonly<Record<string, (input: Buffer) => void>> = {
  'fails as a program does': (input) => void (input.toJSON as unknown as { b: { c: string } }).b.c,
  'takes time by the square of it': (input) => {
    for (let left = input.length ** 2 * 200; left > 0; left--) Math.sqrt(left);
  },
  'takes much memory': () => void Buffer.alloc(400 * 1024 * 1024, 1),
  'changes a prototype': () => void Object.assign(Object.prototype, { isPolluted: true }),
  'throws what is no error': () => {
    throw 'text';
  },
};

for (const [name, check] of Object.entries(faults)) {
  test(`an input is a violation that ${name}`, async () => {
    try {
      await assert.rejects(examine({ name, seeds: [], check }, Buffer.alloc(4000)), Violation);
    } finally {
      Reflect.deleteProperty(Object.prototype, 'isPolluted');
    }
  });
}

test('a violation is found, and its input made small', async () => {
  const check = (input: Buffer) => {
    if (input.includes('__proto__')) throw new TypeError('Cannot read properties of undefined');
  };
  const target: Target = { name: 'fault', seeds: ['{"a":{"b":1}}'], check };
  const { violation } = await fuzz(target, [], { seed: 1, maxRuns: 5000 });
  assert.match(violation?.what ?? '', /not refused by a clear error, but by TypeError/);
  assert.ok((violation?.input.length ?? 0) < 30, violation?.input.toString());
});
