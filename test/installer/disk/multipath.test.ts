import assert from 'node:assert/strict';
import { constants, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { type FakeTools, makeFakeTools } from '../../sandbox/fake-tools.ts';
import { makeFlatcarImage } from '../../sandbox/flatcar-layout.ts';
import { createLoopDevice, type LoopDevice } from '../../sandbox/loop-device.ts';
import { startInstaller } from '../run.ts';

let directory: string;
let image: string;
let imageBytes: number;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-multipath-'));
  image = join(directory, 'image');
  imageBytes = await makeFlatcarImage({ path: image });
});
after(() => rm(directory, { recursive: true }));

/**
 * A loop device that lsblk calls a multipath device with a partition: where the kernel has no
 * device-mapper there is no real one.
 */
async function asMultipath({ path }: LoopDevice, kpartx = ':'): Promise<FakeTools> {
  const name = path.slice('/dev/'.length);
  const partition = `,"children": [{"name":"mpatha1", "path":"/dev/mapper/mpatha1", "maj:min":"253:1", "type":"part", "size":4194304, "log-sec":512, "ro":false, "rm":false}]`;
  await writeFile(join(directory, 'partition'), partition);
  const lsblk = `lsblk "$@" | awk -v part="$(cat ${join(directory, 'partition')})" '/"name": *"/ { own = index($0, "\\"${name}\\"") } own { if (sub(/"type": *"loop"/, "\\"type\\": \\"mpath\\"" part)) own = 0 } { print }'`;
  return await makeFakeTools({ lsblk, kpartx });
}

test('flatcar-install removes the partitions of a multipath device to claim it, and has kpartx make the new ones', async () => {
  await using loop = await createLoopDevice({ sizeBytes: imageBytes });
  await using tools = await asMultipath(loop);
  const ran = await startInstaller(['-d', loop.path, '-f', image, '-v'], { PATH: tools.path });
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.deepEqual(await tools.calls('kpartx'), [
    ['-d', '-n', loop.path],
    ['-u', '-n', loop.path],
  ]);
  assert.match(ran.stderr, /^rescanned with kpartx$/m);
  await execa('cmp', [loop.path, image]);
});

test('flatcar-install gives a multipath device its partitions back where nothing was changed', async () => {
  await using loop = await createLoopDevice({ sizeBytes: imageBytes });
  await using tools = await asMultipath(loop);
  const ran = await startInstaller(['-d', loop.path, '-f', join(directory, 'none')], { PATH: tools.path });
  assert.equal(ran.exitCode, 1);
  assert.deepEqual(await tools.calls('kpartx'), [
    ['-d', '-n', loop.path],
    ['-u', '-n', loop.path],
  ]);
});

test('flatcar-install makes no partitions known of a multipath device that it left without a table', async () => {
  await using loop = await createLoopDevice({ sizeBytes: imageBytes });
  await using tools = await asMultipath(loop);
  const cut = join(directory, 'cut');
  await execa('dd', [`if=${image}`, `of=${cut}`, 'bs=1M', 'count=60', 'status=none']);
  const ran = await startInstaller(['-d', loop.path, '-f', cut], { PATH: tools.path });
  assert.equal(ran.exitCode, 1);
  assert.match(ran.stderr, /left without a partition table/);
  assert.deepEqual(await tools.calls('kpartx'), [['-d', '-n', loop.path]]);
});

test('flatcar-install refuses a multipath device whose partitions cannot be removed, and leaves them', async () => {
  await using loop = await createLoopDevice({ sizeBytes: imageBytes });
  await using tools = await asMultipath(loop, 'if [ "$1" = -d ]; then echo "mpatha1: in use" >&2; exit 1; fi');
  // As the device of a partition does.
  await using _claim = await open(loop.path, constants.O_RDONLY | constants.O_EXCL);
  const ran = await startInstaller(['-d', loop.path, '-f', image], { PATH: tools.path });
  assert.equal(ran.exitCode, 1);
  assert.match(
    ran.stderr,
    /: it or one of its partitions is in use by something outside this container or mount namespace \(/,
  );
  assert.deepEqual(await tools.calls('kpartx'), [
    ['-d', '-n', loop.path],
    ['-u', '-n', loop.path],
  ]);
});

test('flatcar-install installs to a multipath device where there is no kpartx, and says that its partitions are not seen', async () => {
  await using loop = await createLoopDevice({ sizeBytes: imageBytes });
  await using tools = await asMultipath(loop, 'exit 127');
  const ran = await startInstaller(['-d', loop.path, '-f', image], { PATH: tools.path });
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(
    ran.stderr,
    /^Warning: this system does not see the new partitions \(.*kpartx.+\); the installation itself is complete/m,
  );
});
