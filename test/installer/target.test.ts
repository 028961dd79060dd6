import assert from 'node:assert/strict';
import { mkdtemp, rm, symlink, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { systemClock } from '../../clock/system.ts';
import { NoDiskError } from '../../installer/disk/select.ts';
import { createReport } from '../../installer/progress.ts';
import { chooseTarget } from '../../installer/target.ts';
import { createLoopDevice } from '../sandbox/loop-device.ts';
import { runInstaller } from './run.ts';

const mebibyte = 1024 * 1024;

/** A clock whose waits end at once, after something was done at one of them. */
function contextWith(onWait: (count: number) => Promise<void>) {
  const lines: string[] = [];
  let waits = 0;
  const clock = {
    ...systemClock,
    now: () => systemClock.now(),
    wait: async (_seconds: number, signal?: AbortSignal) => {
      signal?.throwIfAborted();
      await onWait(++waits);
    },
  };
  const output = { write: (text: string) => void lines.push(text) };
  const report = createReport({ style: 'lines', verbose: false, output, clock: systemClock });
  return { context: { clock, report, signal: new AbortController().signal }, lines, waits: () => waits };
}

test('chooseTarget() waits for the disk that is named, and no longer than until it is there', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  const directory = await mkdtemp(join(tmpdir(), 'nibs-target-'));
  const path = join(directory, 'disk');
  const { context, lines, waits } = contextWith(async (count) => {
    if (count === 3) await symlink(loop.path, path);
  });
  assert.equal(await chooseTarget({ kind: 'device', path, waitSeconds: 30 }, context), path);
  assert.equal(waits(), 3);
  assert.match(lines.join(''), /^Waiting up to 30 s for a disk that fits$/m);
  await rm(directory, { recursive: true });
});

test('chooseTarget() waits for a disk that fits, and then gives up with the reasons', async () => {
  const smallest = { kind: 'smallest', includeMajors: [7], minBytes: 6e12, waitSeconds: 5 } as const;
  const late = contextWith(async () => {});
  await assert.rejects(chooseTarget(smallest, late.context), NoDiskError);
  assert.equal(late.waits(), 5);
  await using stack = new AsyncDisposableStack();
  const found = contextWith(async (count) => {
    if (count === 2) stack.use(await createLoopDevice({ sizeBytes: 7e12 }));
  });
  assert.match(await chooseTarget(smallest, found.context), /^\/dev\/loop\d+$/);
  assert.equal(found.waits(), 2);
  const none = contextWith(async () => {});
  await chooseTarget({ kind: 'device', path: '/dev/nibs-none' }, none.context);
  assert.equal(none.waits(), 0, 'by default');
});

test('flatcar-install -d warns of the pool that it overwrites', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  await execa('make-bcache', ['-B', loop.path]);
  const ran = await runInstaller(tmpdir(), ['-y', '-d', loop.path]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(
    ran.stderr,
    new RegExp(
      `^Warning: ${loop.path}: it has a signature of bcache \\(bcache\\), and is overwritten as far as the image reaches \\(--wipe-members erases it\\)$`,
      'm',
    ),
  );
});

test('flatcar-install -d warns of a disk that cannot be read: it may belong to a pool', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  await truncate(loop.backingPath, 32 * mebibyte);
  const ran = await runInstaller(tmpdir(), ['-y', '-d', loop.path]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(
    ran.stderr,
    new RegExp(
      `^Warning: ${loop.path}: it cannot be read \\(.+\\), so it is not known whether it belongs to an array`,
      'm',
    ),
  );
});

test('flatcar-install -d refuses a disk that --never describes', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  const args = ['-d', loop.path, '--never', 'model=none', '--never', `path=${loop.path}`, '-f', loop.backingPath];
  const ran = await runInstaller(tmpdir(), args);
  assert.deepEqual(
    [ran.exitCode, ran.stderr.split('\n').at(-2)],
    [
      1,
      `Error: cannot install to ${loop.path}: it matches --never path=${loop.path} (choose another disk with -d, or leave out --never)`,
    ],
  );
});

test('flatcar-install --list-disks --json has what hints match, and heeds the options of -s', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  const ran = await runInstaller(tmpdir(), ['--list-disks', '--json', '--never', `path=${loop.path}`]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  const { disks }: { disks: { disk: Record<string, unknown>; reason: string }[] } = JSON.parse(ran.stdout);
  const found = disks.find(({ disk }) => disk['path'] === loop.path) ?? assert.fail();
  assert.equal(found.reason, `it matches --never path=${loop.path}`);
  assert.deepEqual(
    [found.disk['transport'], found.disk['sizeBytes'], typeof found.disk['rotational']],
    [...['software', 64 * mebibyte, 'boolean']],
  );
  assert.deepEqual([found.disk['links'], found.disk['members']], [[], []]);
});

test('flatcar-install -d goes on where lsblk is missing, fails or reports nonsense about another device', async () => {
  await using loop = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  const { makeFakeTools } = await import('../sandbox/fake-tools.ts');
  const { startInstaller } = await import('./run.ts');
  const odd = `{"blockdevices": [{"name": "sdz", "path": "/dev/sdz", "maj:min": "8:400", "type": "disk", "size": null, "ro": null, "rm": null, "model": "A\\u0001B"}, 7]}`;
  for (const lsblk of ['exit 127', 'echo "lsblk: failed" >&2; exit 1', 'echo nonsense', `echo '${odd}'`]) {
    await using tools = await makeFakeTools({ lsblk });
    const ran = await startInstaller(['-y', '-d', loop.path], { PATH: tools.path });
    assert.equal(ran.exitCode, 0, `${lsblk}: ${ran.stderr}`);
    assert.match(ran.stderr, new RegExp(`Would install to ${loop.path}`));
  }
});
