import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { execa } from 'execa';

test('docs/dependencies.md has the versions and licences of the lock file, and a date for each', async () => {
  await execa(process.execPath, ['executable/dependencies-page.ts', '--check']);
  const rows = [...(await readFile('docs/dependencies.md', 'utf8')).matchAll(/^\| `(.*)$/gm)];
  assert.ok(rows.length > 25);
  for (const [row] of rows) assert.match(row, /^\| `[^`]+` \| \d+\.\S+ \| \S.* \| \d{4}-\d\d-\d\d \| .+ \|$/);
});
