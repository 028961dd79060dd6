import assert from 'node:assert/strict';
import { totalmem } from 'node:os';
import { test } from 'node:test';
import { usedMemoryBytes } from '../../../agent/status/used-memory.ts';

test('usedMemoryBytes() is more than this process has, and less than all', async () => {
  const used = await usedMemoryBytes();
  assert.ok(used !== undefined && used > 10 * 1024 ** 2 && used < totalmem(), `${used} bytes of ${totalmem()}`);
});
