import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refuseOtherDevice } from '../../../installer/configure/mount.ts';

test('refuseOtherDevice() refuses a directory on which the kernel mounted something else, or nothing', async () => {
  await refuseOtherDevice('/proc', 'proc');
  await assert.rejects(
    refuseOtherDevice('/proc', '/dev/loop7'),
    /cannot mount \/dev\/loop7: the kernel mounted proc instead \(unmount the file system that has the same UUID\)/,
  );
  await assert.rejects(refuseOtherDevice('/nibs-none', '/dev/loop7'), /the kernel mounted nothing instead/);
});
