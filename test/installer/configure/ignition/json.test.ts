import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode } from '../../../../installer/configure/ignition/decode.ts';
import { JsonCursor, noFindings } from '../../../../installer/configure/ignition/findings.ts';
import { int, list, pointer, since, string, struct } from '../../../../installer/configure/ignition/go-types.ts';
import { decodeString, JsonSyntaxError, parseJson } from '../../../../installer/configure/ignition/json.ts';
import { JsonLocator } from '../../../../installer/configure/ignition/json-locator.ts';

const type = struct({
  name: string,
  size: pointer(int),
  tags: list(string),
  parts: list(struct({ name: string, size: pointer(int) })),
  young: since(2, string),
});

function decoded(text: string | Buffer, minor = 2) {
  const bytes = Buffer.from(text);
  const findings = noFindings();
  const value = decode(type, parseJson(bytes), { bytes, minor }, new JsonCursor(findings));
  return { value, errors: findings.errors.map(({ path, message }) => `${path.join('.')}: ${message}`) };
}

test('decode() merges the values of duplicate keys, element by element, as Go does', () => {
  const { value } = decoded(
    '{"parts": [{"name": "a", "size": 1}, {"name": "b"}], "parts": [{"size": 2}], "NAME": "x", "name": "y"}',
  );
  assert.deepEqual(value.parts, [{ name: 'a', size: 2n }]);
  assert.equal(value.name, 'y');
});

test('decode() keeps what is there for null, but for pointers and lists', () => {
  const { value } = decoded('{"name": "a", "name": null, "size": 1, "size": null, "tags": ["b"], "tags": null}');
  assert.deepEqual([value.name, value.size, value.tags], ['a', undefined, []]);
});

test('decode() takes whole numbers of 64 bits by their notation', () => {
  assert.equal(decoded('{"size": 9007199254740993}').value.size, 9007199254740993n);
  assert.equal(decoded('{"size": -9223372036854775808}').value.size, -(2n ** 63n));
  assert.match(
    decoded('{"size": 9223372036854775808}').errors.join(),
    /size: 9223372036854775808 has more than 64 bits/,
  );
  for (const text of ['1.0', '1e3', '"1"', 'true', `1${'0'.repeat(200)}`])
    assert.equal(decoded(`{"size": ${text}}`).errors.length, 1, text);
});

test('decode() matches keys without regard to case, as Unicode folds it, and no newer ones', () => {
  const { value } = decoded('{"NAME": "a", "\u017FIZE": 2, "ta\\u0047s": ["b"], "young": "c"}', 1);
  assert.deepEqual([value.name, value.size, value.tags, value.young], ['a', 2n, ['b'], '']);
});

test('decodeString() replaces each byte that is not UTF-8, and each half of a surrogate pair', () => {
  const text = (bytes: readonly number[]) => {
    const quoted = Buffer.from([0x22, ...bytes, 0x22]);
    return decodeString(quoted, 0, quoted.length);
  };
  assert.equal(text([0x61, 0xe9, 0x62]), 'a\uFFFDb');
  assert.equal(text([0xe2, 0x82, 0x61]), '\uFFFD\uFFFDa');
  assert.equal(text([0xe2, 0x82, 0xac, 0xff]), '€\uFFFD');
  assert.equal(text([0xed, 0xa0, 0x80]), '\uFFFD\uFFFD\uFFFD');
  assert.equal(text([0xf0, 0x9f, 0x98, 0x80, 0xc0]), '😀\uFFFD');
  assert.equal(text([...Buffer.from('\\ud83d\\ude00\\ud83d\\n\\/')]), '😀\uFFFD\n/');
});

test('parseJson() says where a text is not JSON', () => {
  const offsets = [
    ['', 0],
    ['{"a" 1}', 5],
    ['{"a": 1 "b": 2}', 8],
    ['[1, ]', 4],
    ['[01]', 2],
    ['[1.]', 3],
    ['[-]', 2],
    ['["a\nb"]', 1],
    ['["\\x"]', 3],
    ['{}x', 2],
  ] as const;
  for (const [text, offset] of offsets) {
    assert.throws(
      () => parseJson(Buffer.from(text)),
      (error: unknown) => error instanceof JsonSyntaxError && error.offset === offset,
      text,
    );
  }
});

test('JsonLocator finds the last of duplicate keys, keys in another case, and what should contain a missing one', () => {
  const bytes = Buffer.from('{"a": [1],\n "B": {"c": 2},\n "a": [3,\n 4]}');
  const locator = new JsonLocator(bytes);
  const top = parseJson(bytes);
  assert.deepEqual(locator.locate(top, { path: ['a', 1] }), { line: 4, column: 2 });
  assert.deepEqual(locator.locate(top, { path: ['b', 'c'] }), { line: 2, column: 13 });
  assert.deepEqual(locator.locate(top, { path: ['b', 'c'], isAboutKey: true }), { line: 2, column: 8 });
  assert.deepEqual(locator.locate(top, { path: ['b', 'd', 'e'] }), { line: 2, column: 7 });
});
