import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');

test('docs/settings.md has the table of settings that the agent has', () => {
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'executable/settings-page.ts'), '--check'], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
});
