import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAuthority, parseAuthority, splitAuthority, withoutBrackets } from '../../net/authority.ts';

const table = [
  ['server.example:42113', { host: 'server.example', port: 42113 }],
  ['server.example', { host: 'server.example', port: undefined }],
  ['192.168.1.1:80', { host: '192.168.1.1', port: 80 }],
  ['[fd00::1]:443', { host: 'fd00::1', port: 443 }],
  ['[fd00::1]', { host: 'fd00::1', port: undefined }],
] as const;

for (const [text, authority] of table) {
  test(`splitAuthority() and formatAuthority() translate ${text} to host and port, and back`, () => {
    assert.deepEqual(splitAuthority(text), authority);
    assert.deepEqual(parseAuthority(text), authority);
    assert.equal(formatAuthority(authority), text);
  });
}

test('withoutBrackets() takes the host of a URL', () => {
  assert.equal(withoutBrackets(new URL('http://[fd00::1]:80/').hostname), 'fd00::1');
  assert.equal(withoutBrackets(new URL('http://name:80/').hostname), 'name');
});

test('parseAuthority() takes an address of IPv6 without brackets, and refuses other forms', () => {
  assert.deepEqual(parseAuthority('fd00::1'), { host: 'fd00::1', port: undefined });
  for (const text of [
    '',
    'no where',
    'name:0',
    'name:65536',
    'name:port',
    '[name]:80',
    '[fd00::1',
    'a:b:80',
    'name/path',
  ])
    assert.equal(parseAuthority(text), undefined, text);
});
