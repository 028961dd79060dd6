import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeDataUrl } from '../../../../installer/configure/ignition/data-url.ts';

function decoded(url: string): string {
  const data = decodeDataUrl(url);
  assert.ok(Buffer.isBuffer(data), String(data));
  return data.toString('latin1');
}

test('decodeDataUrl() decodes percent signs and base64', () => {
  assert.equal(decoded('data:,a%20b%0a'), 'a b\n');
  assert.equal(decoded('data:,%00%ff%FF%'.slice(0, -1)), '\0\xff\xff');
  assert.equal(decoded('data:;base64,aGVsbG8='), 'hello');
  assert.equal(decoded('data:text/plain;charset="a;base64,b";base64,aGVsbG8='), 'hello');
  assert.equal(decoded('data:,'), '');
});

test('decodeDataUrl() says why it cannot decode', () => {
  assert.match(String(decodeDataUrl('data:x')), /no valid beginning/);
  assert.equal(
    decodeDataUrl('data:,ab%2'),
    'the data URL has a percent sign without two hexadecimal digits at character 3 of its data',
  );
  assert.equal(decodeDataUrl('data:,a b'), 'the data URL has " " at character 2 of its data, which must be escaped');
  assert.equal(decodeDataUrl('data:;base64,aGV*'), 'the data URL is not valid base64: "*" at character 4');
  assert.equal(
    decodeDataUrl('data:;base64,aGVsb'),
    'the data URL is not valid base64: its length is not a multiple of 4',
  );
});
