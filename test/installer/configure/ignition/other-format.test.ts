import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { recogniseOtherFormat } from '../../../../installer/configure/ignition/other-format.ts';

test('recogniseOtherFormat() prints no warning of the library, which may have controls of terminals', async () => {
  const warnings: Error[] = [];
  const take = (warning: Error) => void warnings.push(warning);
  process.on('warning', take);
  try {
    const found = recogniseOtherFormat('%\x1b[2Jdirective a\n---\nvariant: flatcar\n');
    assert.match(found?.why ?? '', /^it is a Butane config/);
    await setImmediate();
  } finally {
    process.off('warning', take);
  }
  assert.deepEqual(warnings, []);
});
