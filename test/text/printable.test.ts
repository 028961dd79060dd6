import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printable } from '../../text/printable.ts';

test('printable() keeps text as it is, in any language', () => {
  for (const text of ['', 'a b', 'Größe: 5 µm – 日本語 👩‍🚀', '[31m', 'a\\u001b']) assert.equal(printable(text), text);
});

test('printable() leaves nothing that a terminal obeys', () => {
  for (const [text, result] of [
    ['a\u001b[31mred\u001b[0m', 'ared'],
    ['a\u009b31mred', 'ared'],
    ['a\u001b]0;title\u0007b\u001b]8;;http://x\u001b\\link\u009d0;x\u009cc', 'ablinkc'],
    ['a\u001bPq\u001b\\b\u001bcd', 'abd'],
    ['a\u001b[', 'a'],
    ['a\u001b]never ended', 'anever ended'],
    ['a\u0000\u0007\u0008\u007f\u0085\u009fb', 'a b'],
    ['\u202eexe.txt\u2066', ' exe.txt '],
  ] as const)
    assert.equal(printable(text), result);
});

test('printable() has one line: none can be forged', () => {
  for (const end of ['\n', '\r\n', '\r', '\v', '\f', '\u0085', '\u2028', '\u2029'])
    assert.equal(printable(`done${end}12:00:00 ERROR forged`), 'done 12:00:00 ERROR forged');
});

test('printable() is well-formed and never longer than its limit', () => {
  assert.equal(printable('a\ud800b'), 'a\ufffdb');
  assert.equal(printable('abcdef', 4), 'abc…');
  assert.equal(printable('ab👩', 4), 'ab👩');
  assert.equal(printable('ab👩d', 4), 'ab\ufffd…');
});

test('printable() takes time by its limit: no text makes it slow', () => {
  const begin = process.threadCpuUsage();
  const hostile = [
    '\u001b[;?',
    ';?',
    '\u001b]',
    '\u009d',
    '\u001b',
    '\u009b1;',
    '\ud800',
    '\n',
    '\u001b[0;0;',
    '\u001bP\u001b',
  ];
  for (const text of hostile) {
    const first = text.startsWith(';') ? '\u001b[' : '';
    const result = printable(first + text.repeat(2 ** 20), 2 ** 16);
    assert.doesNotMatch(result, /\p{Cc}/u);
  }
  const { user, system } = process.threadCpuUsage(begin);
  assert.ok((user + system) / 1000 / hostile.length < 50, `${user + system} µs`);
});
