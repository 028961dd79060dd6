import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { type ReleaseDefaults, readDefaults } from '../../installer/defaults.ts';

async function defaultsOf(files: Readonly<Record<string, string>>, architecture = 'x64'): Promise<ReleaseDefaults> {
  const root = await mkdtemp(join(tmpdir(), 'nibs-defaults-'));
  try {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), text);
    }
    return await readDefaults(root, architecture);
  } finally {
    await rm(root, { recursive: true });
  }
}

const flatcar = { 'etc/os-release': 'NAME="Flatcar Container Linux by Kinvolk"\nID=flatcar\nVERSION_ID=4152.2.1\n' };

test('readDefaults() is stable, current and the board of the processor where there is nothing to read', async () => {
  const nothing = { channel: 'stable', version: 'current', oem: '' };
  assert.deepEqual(await defaultsOf({}), { ...nothing, board: 'amd64-usr' });
  assert.deepEqual(await defaultsOf({}, 'arm64'), { ...nothing, board: 'arm64-usr' });
});

test('readDefaults() does not do without a file that is there and cannot be read', async () => {
  await assert.rejects(defaultsOf({ 'etc/os-release/file': '' }), /cannot read .*\/etc\/os-release: EISDIR/);
});

test('readDefaults() takes version and channel from a running Flatcar only', async () => {
  const update = { 'usr/share/flatcar/update.conf': 'GROUP=alpha\n' };
  assert.deepEqual(await defaultsOf({ ...flatcar, ...update }), {
    board: 'amd64-usr',
    channel: 'alpha',
    version: '4152.2.1',
    oem: '',
  });
  const debian = { 'etc/os-release': 'ID=debian\nVERSION_ID="12"\n', ...update };
  assert.deepEqual(await defaultsOf(debian), { board: 'amd64-usr', channel: 'stable', version: 'current', oem: '' });
});

test('readDefaults() lets /etc/flatcar/update.conf win over the one of the image', async () => {
  const files = {
    ...flatcar,
    'usr/share/flatcar/update.conf': 'GROUP=stable',
    'etc/flatcar/update.conf': 'SERVER=x\nGROUP=beta\n',
  };
  assert.equal((await defaultsOf(files)).channel, 'beta');
});

test('readDefaults() takes the board from the release file', async () => {
  const files = { 'usr/share/flatcar/release': 'FLATCAR_RELEASE_VERSION=1\nFLATCAR_RELEASE_BOARD=arm64-usr\n' };
  assert.equal((await defaultsOf(files)).board, 'arm64-usr');
});

test('readDefaults() takes the OEM from the last file that names one, but never qemu', async () => {
  const files = { 'oem/oem-release': 'ID=ami\n', 'etc/oem-release': "ID='gce'\nNAME=x\n" };
  assert.equal((await defaultsOf(files)).oem, 'gce');
  assert.equal((await defaultsOf({ ...files, 'etc/oem-release': 'NAME=x\n' })).oem, 'ami');
  for (const id of ['qemu', 'qemu_uefi'])
    assert.equal((await defaultsOf({ 'usr/share/oem/oem-release': `ID=${id}\n` })).oem, '');
});
