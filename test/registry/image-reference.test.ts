import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { z } from 'zod';
import { ImageReferenceError, normaliseHost, parseReference, withRegistry } from '../../registry/image-reference.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

const goRule = z.object({
  registry: z.string(),
  image: z.string(),
  expected: z.record(z.string(), z.string().optional()),
});

test('parseReference() normalises as the Docker Engine does', () => {
  const expected: Record<string, string> = {
    busybox: 'docker.io/library/busybox:latest',
    'busybox:1.36': 'docker.io/library/busybox:1.36',
    'grafana/loki': 'docker.io/grafana/loki:latest',
    'docker.io/busybox': 'docker.io/library/busybox:latest',
    'index.docker.io/library/busybox': 'docker.io/library/busybox:latest',
    'localhost/x': 'localhost/x:latest',
    'localhost:5000/x/y:z': 'localhost:5000/x/y:z',
    '192.168.1.1/flatcar-install': '192.168.1.1/flatcar-install:latest',
    'quay.io/tinkerbell-actions/cexec:v1.0.0': 'quay.io/tinkerbell-actions/cexec:v1.0.0',
    'Registry.Example.com/x': 'Registry.Example.com/x:latest',
    'a__b/c-d.e--f': 'docker.io/a__b/c-d.e--f:latest',
    [`busybox@${digest}`]: `docker.io/library/busybox@${digest}`,
    [`ghcr.io/x/y:tag@${digest}`]: `ghcr.io/x/y@${digest}`,
    '[fd00::1]:5000/x': '[fd00::1]:5000/x:latest',
  };
  for (const [text, canonical] of Object.entries(expected)) assert.equal(parseReference(text).canonical, canonical);
});

test('parseReference() says what is wrong', () => {
  const wrong: Record<string, RegExp> = {
    '': /the repository "" is malformed/,
    Busybox: /must be lower case/,
    'a b': /repository "a b" is malformed/,
    'x/': /repository "x\/" is malformed/,
    'https://reg/x': /malformed/,
    'x:': /its tag is malformed/,
    'x:a:b': /its tag is malformed/,
    'x@sha256:12': /its digest is malformed/,
    'reg_1.example.com/x': /the registry "reg_1.example.com" is malformed/,
  };
  for (const [text, why] of Object.entries(wrong)) {
    assert.throws(
      () => parseReference(text),
      (error) => error instanceof ImageReferenceError && why.test(error.message),
      text,
    );
  }
});

test('withRegistry() puts the registry in front of every image, as a path', () => {
  assert.equal(withRegistry('flatcar-install', '192.168.1.1', 'always'), '192.168.1.1/flatcar-install');
  assert.equal(withRegistry('quay.io/a/b:1', '192.168.1.1', 'always'), '192.168.1.1/quay.io/a/b:1');
  assert.equal(withRegistry('x', 'https://reg:5000/mirror/', 'always'), 'reg:5000/mirror/x');
  assert.equal(withRegistry('x', undefined, 'always'), 'x');
});

test('withRegistry() leaves an image alone that begins with the registry, where that twice would be no name', () => {
  assert.equal(withRegistry('192.168.1.1:5000/x', '192.168.1.1:5000', 'always'), '192.168.1.1:5000/x');
  assert.equal(withRegistry('192.168.1.1/x', '192.168.1.1', 'always'), '192.168.1.1/192.168.1.1/x');
  assert.equal(withRegistry('192.168.1.10/x', '192.168.1.1', 'always'), '192.168.1.1/192.168.1.10/x');
});

test('withRegistry() puts it in front of none, if it is for credentials only', () => {
  for (const image of ['x', 'reg:5000/x', 'quay.io/a/b:1', 'localhost:5000/x', 'a.b/c'])
    assert.equal(withRegistry(image, 'reg:5000', 'never'), image);
});

test('withRegistry() leaves images alone that name a registry, with the rule `unqualified`', () => {
  assert.equal(withRegistry('x/y', 'reg:5000', 'unqualified'), 'reg:5000/x/y');
  assert.equal(withRegistry('quay.io/a/b:1', 'reg:5000', 'unqualified'), 'quay.io/a/b:1');
  assert.equal(withRegistry('localhost/a', 'reg:5000', 'unqualified'), 'localhost/a');
});

test('normaliseHost() knows the names of Docker Hub', () => {
  assert.equal(normaliseHost('https://index.docker.io/v1/'), 'docker.io');
  assert.equal(normaliseHost('Reg.example.com:5000'), 'reg.example.com:5000');
});

/**
 * What the Go agents of each protocol version ask for; made by image-references/main.go. Empty: the
 * engine refuses the name.
 */
const goRules = readFileSync(join(import.meta.dirname, 'image-references/references.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => goRule.parse(JSON.parse(line)));

for (const dialect of ['v0.1', 'v0.2', 'v0.7', 'v0.9', 'current'] as const)
  test(`an image is the one that the Go agent of ${dialect} asks for`, () => {
    const rule = dialect === 'current' ? 'never' : 'always';
    let compared = 0;
    for (const { registry, image, expected } of goRules) {
      const go = expected[dialect];
      // Without a registry tink-worker up to v0.6 exits; a name that it refuses may be valid here.
      if (go === undefined || (go === '' && dialect !== 'current')) continue;
      compared += 1;
      assert.equal(canonicalOf(withRegistry(image, registry || undefined, rule)), go, `${registry} ${image}`);
    }
    assert.ok(compared >= 40, String(compared));
  });

test('what is understood beyond v0.1 is a name that begins with the registry, or a path to be cleaned up', () => {
  const further = goRules.filter(({ registry, image, expected }) => {
    return expected['v0.1'] === '' && canonicalOf(withRegistry(image, registry, 'always')) !== '';
  });
  assert.deepEqual(
    new Set(
      further.map(({ registry, image }) => (registry.endsWith('/') ? 'registry with a slash at its end' : image)),
    ),
    new Set([
      'registry with a slash at its end',
      ...['10.9.9.1:5000/busybox', '10.9.9.1:5000/busybox:2', '', 'x/', 'a.b/', '/x', 'a//b', './x', '../x', 'a/../b'],
    ]),
  );
});

function canonicalOf(text: string): string {
  try {
    return parseReference(text).canonical;
  } catch (error) {
    assert.ok(error instanceof ImageReferenceError);
    return '';
  }
}
