import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { execa } from 'execa';
import { makeMountDirectory, sweepMounts } from '../../tools/mount-directory.ts';

/** A directory for temporary files that only this test uses. */
async function ownTemporary(test: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-mounts-'));
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = directory;
  test.after(async () => {
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
    await rm(directory, { recursive: true });
  });
  return directory;
}

test('no other user reaches what is mounted on a directory of makeMountDirectory()', async (test) => {
  const directory = await ownTemporary(test);
  await execa('chmod', ['755', directory]);
  await using place = await makeMountDirectory('nibs-test');
  await execa('mount', ['-t', 'tmpfs', '-o', 'mode=777', 'nibs', place.path]);
  try {
    assert.equal((await stat(place.path)).mode & 0o777, 0o777);
    const other = await execa('setpriv', ['--reuid=65534', '--clear-groups', 'ls', place.path], { reject: false });
    assert.match(other.stderr, /Permission denied/);
  } finally {
    await execa('umount', [place.path]);
  }
});

test('sweepMounts() unmounts what a killed process has left, and nothing else', async (test) => {
  const directory = await ownTemporary(test);
  const ended = await execa('sh', ['-c', 'echo $$']);
  const [left, nested, ofRunning, other] = [
    `nibs-test-${ended.stdout}-abcdef/mounted`,
    `nibs-test-${ended.stdout}-abcdef/mounted/nested`,
    `nibs-test-${process.pid}-abcdef/mounted`,
    `nibs-other-${ended.stdout}-abcdef/mounted`,
  ].map((name) => join(directory, name)) as [string, string, string, string];
  for (const path of [left, nested, ofRunning, other]) {
    await mkdir(path, { recursive: true });
    await execa('mount', ['-t', 'tmpfs', 'nibs-source', path]);
  }
  try {
    assert.deepEqual(await sweepMounts('nibs-test'), ['nibs-source']);
    await assert.rejects(stat(join(left, '..')), { code: 'ENOENT' });
    for (const path of [ofRunning, other]) await execa('mountpoint', [path]);
    assert.deepEqual(await sweepMounts('nibs-test'), []);
  } finally {
    for (const path of [ofRunning, other]) await execa('umount', [path]);
  }
});
