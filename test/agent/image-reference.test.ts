import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ImageReferenceError, normaliseHost, parseReference, withRegistry } from '../../agent/image-reference.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

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
    'Registry.Example.com/x': 'registry.example.com/x:latest',
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

test('withRegistry() puts the registry in front of every image, once', () => {
  assert.equal(withRegistry('flatcar-install', '192.168.1.1', 'always'), '192.168.1.1/flatcar-install');
  assert.equal(withRegistry('quay.io/a/b:1', '192.168.1.1', 'always'), '192.168.1.1/quay.io/a/b:1');
  assert.equal(withRegistry('192.168.1.1/x', '192.168.1.1', 'always'), '192.168.1.1/x');
  assert.equal(withRegistry('192.168.1.10/x', '192.168.1.1', 'always'), '192.168.1.1/192.168.1.10/x');
  assert.equal(withRegistry('x', 'https://reg:5000/mirror/', 'always'), 'reg:5000/mirror/x');
  assert.equal(withRegistry('x', undefined, 'always'), 'x');
});

test('withRegistry() leaves images alone that name a registry, if it is told so', () => {
  assert.equal(withRegistry('x/y', 'reg:5000', 'unqualified'), 'reg:5000/x/y');
  assert.equal(withRegistry('quay.io/a/b:1', 'reg:5000', 'unqualified'), 'quay.io/a/b:1');
  assert.equal(withRegistry('localhost/a', 'reg:5000', 'unqualified'), 'localhost/a');
});

test('normaliseHost() knows the names of Docker Hub', () => {
  assert.equal(normaliseHost('https://index.docker.io/v1/'), 'docker.io');
  assert.equal(normaliseHost('Reg.example.com:5000'), 'reg.example.com:5000');
});
