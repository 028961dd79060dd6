import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refuseOtherDevice } from '../../../installer/configure/mount.ts';

test('refuseOtherDevice() refuses a directory on which the kernel mounted something else, or nothing', async () => {
  await assert.rejects(
    refuseOtherDevice('/proc', '/dev/sda', 0),
    /cannot mount \/dev\/sda: the kernel mounted proc instead \(unmount the file system that has the same UUID\)/,
  );
  await assert.rejects(refuseOtherDevice('/nibs-none', '/dev/sda', 0), /the kernel mounted nothing instead/);
});
