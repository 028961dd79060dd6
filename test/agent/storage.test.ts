import assert from 'node:assert/strict';
import { statfs } from 'node:fs/promises';
import { test } from 'node:test';
import type { ActionName } from '../../agent/runtime/event.ts';
import { createSpaceWatch, freeBytes } from '../../agent/storage.ts';

for (const directory of ['/tmp/a/directory/that/is/not/there', '/dev/shm']) {
  test(`freeBytes() of ${directory} is what its file system has`, async () => {
    const { bavail, bsize } = await statfs(directory.startsWith('/tmp') ? '/tmp' : directory);
    const found = await freeBytes(directory);
    // Others write at the same time.
    assert.ok(found !== undefined && Math.abs(found - bavail * bsize) < 2 ** 30, `${found} and ${bavail * bsize}`);
  });
}

test('createSpaceWatch() warns once of an image that cannot fit, and not of one that can', async () => {
  const action: ActionName = { workflowId: 'w', taskName: 't', name: 'a', id: '1' };
  const warnings: string[] = [];
  const watch = createSpaceWatch(
    '/var/lib/docker',
    ({ name }, message) => warnings.push(`${name}: ${message}`),
    async () => 100e6,
  );
  for (const [image, sizes] of [
    ['small', [10e6, 90e6]],
    ['large', [50e6, 150e6, 250e6]],
  ] as const) {
    watch({ kind: 'pulling', action, image });
    for (const totalBytes of sizes) watch({ kind: 'pull-progress', action, image, doneBytes: 0, totalBytes });
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(warnings, [
    'a: the image large cannot fit: it has at least 150.0 MB, and /var/lib/docker had 100.0 MB free (give the machine more memory or the engine a disk)',
  ]);
});
