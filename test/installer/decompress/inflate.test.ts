import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodedByKernel, decodedByZlib, randomDeflate } from './deflate.ts';
import { Random } from './random.ts';

test('the inflate kernel decodes what zlib decodes, as far as zlib, and refuses the rest', () => {
  let [good, bad] = [0, 0];
  for (let seed = 1; seed <= 1500; seed++) {
    const random = new Random(seed);
    const stream = randomDeflate(random);
    const expected = decodedByZlib(stream);
    const most = random.pick([1, 50, 3000, 2 ** 20]);
    const decoded = decodedByKernel(stream, () => random.between(1, most));
    if (expected) good++;
    else bad++;
    assert.equal(decoded?.usedBytes, expected?.usedBytes, `seed ${seed}: used bytes`);
    assert.ok(expected === undefined || decoded?.bytes.equals(expected.bytes), `seed ${seed}: other bytes`);
  }
  assert.ok(good > 400 && bad > 400, `${good} good and ${bad} bad streams`);
});
