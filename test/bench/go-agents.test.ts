import assert from 'node:assert/strict';
import { test } from 'node:test';
import { execa } from 'execa';
import { whyNotBuilt } from './go-agents.ts';

const failureOf = (program: string, ...parameters: string[]) => execa(program, parameters).catch((error) => error);

test('whyNotBuilt() says that Go is not installed', async () => {
  assert.equal(whyNotBuilt(await failureOf('/nowhere/go', 'build')), 'Go is not installed');
});

test('whyNotBuilt() gives the first lines of an error, without those of downloads', async () => {
  const output =
    'go: downloading example.org/a v1.0.0\n\ngo: example.org/b@v1.0.0: 403 Forbidden\n\tserver response: no\n';
  const failure = await failureOf('sh', '-c', 'printf %s "$1" >&2; exit 1', 'sh', output);
  assert.equal(whyNotBuilt(failure), 'go build failed: go: example.org/b@v1.0.0: 403 Forbidden \tserver response: no');
});
