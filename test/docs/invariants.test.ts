import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from './pages.ts';

const text = readFileSync(join(root, 'docs/invariants.md'), 'utf8');
const security = readFileSync(join(root, 'docs/security.md'), 'utf8');

/** The names of the tests in a file; what differs from case to case is `…`. */
function namesIn(source: string): Set<string> {
  const calls = source.matchAll(/\b(?:test|it|describe)\(\s*(?:'([^'\n]+)'|"([^"\n]+)"|`([^`]+)`)/g);
  return new Set(
    [...calls].map(([, single, double, template]) => (single ?? double ?? template ?? '').replace(/\$\{[^}]*\}/g, '…')),
  );
}

test('each test that docs/invariants.md and docs/security.md name is in the file that they name', () => {
  const rows = [...`${text}\n${security}`.matchAll(/^\| `(test\/[^`]+)` \| (.+) \|$/gm)];
  assert.ok(rows.length > 30, `${rows.length} tests`);
  const missing = rows.filter(([, path = '', name = '']) => !namesIn(readFileSync(join(root, path), 'utf8')).has(name));
  assert.deepEqual(
    missing.map(([row]) => row),
    [],
  );
});

test('each invariant has a test', () => {
  for (const section of text.split(/^## /m).slice(1)) assert.match(section, /^\| `test\//m, section.split('\n')[0]);
});
