import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');

function misnamedErrors(source: string): string[] {
  return [...source.matchAll(/^(?:export )?(?:abstract )?class (\w+) extends \w*Error\b/gm)]
    .map(([, name = '']) => name)
    .filter((name) => !name.endsWith('Error'));
}

test('the name of every class of errors ends with Error', () => {
  const list = execFileSync('git', ['ls-files', '*.ts', ':!test'], { cwd: root, encoding: 'utf8' });
  const paths = list.trim().split('\n');
  const found = paths.flatMap((path) =>
    misnamedErrors(readFileSync(join(root, path), 'utf8')).map((name) => `${path}: ${name}`),
  );
  assert.deepEqual(found, []);
});

test('a class of errors with another name is found', () => {
  assert.deepEqual(
    misnamedErrors('export class Cancelled extends OperationError {}\nclass PullError extends Error {}'),
    ['Cancelled'],
  );
});
