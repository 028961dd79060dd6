import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wrapText } from '../../text/wrap.ts';

test('wrapText() breaks at spaces, keeps lines that fit, and breaks words that are longer than a line', () => {
  assert.deepEqual(wrapText('  as it is', 10), ['  as it is']);
  assert.deepEqual(wrapText('one two three', 7), ['one two', 'three']);
  assert.deepEqual(wrapText('a\n\nlonger line', 6), ['a', '', 'longer', 'line']);
  assert.deepEqual(wrapText('a abcdefgh b', 3), ['a', 'abc', 'def', 'gh', 'b']);
  assert.deepEqual(wrapText('abc', 1), ['a', 'b', 'c']);
});
