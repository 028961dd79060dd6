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
      const { made, found } = await readCorpus(name);
      const { violation } = await fuzz(target, [...made, ...found], { seed: 1, maxRuns: runs });
      assert.deepEqual(violation?.what, undefined, JSON.stringify(violation?.input.toString('latin1')));
    });
  }
});

const faults: Readonly<Record<string, (input: Buffer) => void>> = {
  'takes time by the square of it': (input) => {
    for (let left = input.length ** 2 * 30; left > 0; left--) Math.sqrt(left);
  },
  'takes much memory': () => void Buffer.alloc(400 * 1024 * 1024, 1),
  'changes a method of a prototype': () => {
    Object.prototype.toLocaleString = () => 'changed';
  },
  'throws what is no error': () => {
    throw 'text';
  },
  'is refused because of an error of the program': (input) => {
    try {
      (input.toJSON as unknown as { b: { c: string } }).b.c;
    } catch (cause) {
      throw new EvalError('it cannot be read', { cause });
    }
  },
};

const before = Object.prototype.toLocaleString;

for (const [name, check] of Object.entries(faults)) {
  test(`an input is a violation that ${name}`, async () => {
    const target = { name, seeds: [], refusals: [EvalError], baseSeconds: 0.1, check };
    try {
      await assert.rejects(examine(target, Buffer.alloc(4000)), Violation);
    } finally {
      Object.prototype.toLocaleString = before;
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
