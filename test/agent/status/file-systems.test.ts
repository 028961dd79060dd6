import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFreeSpaceReader } from '../../../agent/status/file-systems.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';

const mounts = `\
22 1 0:20 / / rw - overlay root rw
23 22 8:1 / /var/lib\\040data rw - ext4 /dev/sda1 rw
24 22 8:1 /x /again rw - ext4 /dev/sda1 rw
25 22 0:30 / /proc rw - proc proc rw
26 22 0:31 / /mnt/nfs rw - nfs4 server:/ rw
27 22 0:32 / /mnt/fuse rw - fuse.sshfs server: rw
28 22 0:33 / /hangs rw - ext4 /dev/hangs rw
29 22 8:2 / /later rw - ext4 /dev/sda2 rw
`;

const size = { bavail: 10, bsize: 1000, blocks: 20 };

test('each local file system with a size is measured once, and none of another machine', async () => {
  const asked: string[] = [];
  const read = createFreeSpaceReader({
    mounts: async () => mounts,
    statfs: async (path) => {
      asked.push(path);
      return path === '/proc' ? { ...size, blocks: 0 } : size;
    },
  });
  assert.deepEqual(
    (await read()).map(({ mountPoint }) => mountPoint),
    ['/', '/var/lib data', '/hangs', '/later'],
  );
  assert.deepEqual(asked, ['/', '/var/lib data', '/proc', '/hangs', '/later']);
});

test('a file system that does not answer delays by a second, and is not asked again until it has', {
  timeout: 600_000,
}, async () => {
  const clock = new VirtualClock();
  const hanging = Promise.withResolvers<typeof size>();
  let asked = 0;
  const read = createFreeSpaceReader({
    clock,
    mounts: async () => mounts,
    statfs: (path) => {
      asked += 1;
      return path === '/hangs' ? hanging.promise : Promise.resolve(size);
    },
  });
  const paths = async () => (await read()).map(({ mountPoint }) => mountPoint);
  const begin = clock.monotonicSeconds();
  assert.deepEqual(await paths(), ['/', '/var/lib data', '/proc']);
  assert.equal(clock.monotonicSeconds() - begin, 1);
  asked = 0;
  // The kernel still has a thread of ours: no other is risked.
  assert.deepEqual(await paths(), []);
  assert.equal(asked, 0);
  hanging.resolve(size);
  await hanging.promise;
  assert.deepEqual(await paths(), ['/', '/var/lib data', '/proc', '/hangs', '/later']);
});

test('a mount point is printable and of bounded length', async () => {
  const read = createFreeSpaceReader({
    mounts: async () => `22 1 8:1 / /a\\033[31mb\\012c${'d'.repeat(1000)} / rw - ext4 /dev/sda1 rw\n`,
    statfs: async () => size,
  });
  const [{ mountPoint } = { mountPoint: '' }] = await read();
  assert.match(mountPoint, /^\/ab cd+…$/);
  assert.ok(mountPoint.length <= 256);
});
