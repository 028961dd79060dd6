import assert from 'node:assert/strict';
import { mkdir, mkdtempDisposable, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeDirectories } from '../../../installer/configure/file.ts';
import { copyNetworkUnits, listNetworkUnits } from '../../../installer/configure/network.ts';

/** Units to copy, the top directory of a partition, and a directory of this machine. */
async function makePlaces() {
  const work = await mkdtempDisposable(join(tmpdir(), 'nibs-network-'));
  const [source, root, machine] = ['source', 'root', 'machine'].map((name) => join(work.path, name));
  if (source === undefined || root === undefined || machine === undefined) assert.fail();
  for (const path of [join(source, 'a.network.d'), root, machine]) await mkdir(path, { recursive: true });
  for (const path of ['a.network', 'a.network.d/b.conf', 'c.link']) await writeFile(join(source, path), path);
  const { paths } = await listNetworkUnits(source);
  return { source, root, machine, paths, [Symbol.asyncDispose]: () => work[Symbol.asyncDispose]() };
}

test('copyNetworkUnits() copies units into directories that it makes, and replaces none', async () => {
  await using places = await makePlaces();
  const { source, root, paths } = places;
  const directory = join(root, 'etc/systemd/network');
  await mkdir(join(directory, 'a.network.d'), { recursive: true });
  await writeFile(join(directory, 'c.link'), 'of the image');
  await symlink('/nibs-none', join(directory, 'a.network'));
  assert.equal(await copyNetworkUnits(source, paths, root), directory);
  assert.equal(await readFile(join(directory, 'a.network.d/b.conf'), 'utf8'), 'a.network.d/b.conf');
  assert.equal(await readFile(join(directory, 'c.link'), 'utf8'), 'of the image');
  await assert.rejects(readFile(join(directory, 'a.network')), /ENOENT/);
});

for (const [what, link] of [
  ['of a directory around the units', 'etc'],
  ['of their directory', 'etc/systemd/network'],
  ['of a directory among them', 'etc/systemd/network/a.network.d'],
] as const) {
  test(`copyNetworkUnits() writes nothing to this machine through a link in place ${what}`, async () => {
    await using places = await makePlaces();
    const { source, root, machine, paths } = places;
    await mkdir(join(root, link, '..'), { recursive: true });
    await symlink(machine, join(root, link));
    await assert.rejects(
      copyNetworkUnits(source, paths, root),
      /cannot write to etc\/systemd\/network.*: in the image, it or a directory around it is a link or a file/,
    );
    assert.deepEqual(await readdir(machine), []);
  });
}

test('makeDirectories() gives those that it makes a mode, and leaves those that are there', async () => {
  await using places = await makePlaces();
  const { root, machine } = places;
  assert.equal(await makeDirectories(root, 'var/lib', 0o755), join(root, 'var/lib'));
  assert.equal(await makeDirectories(root, 'var/lib/x', 0o700), join(root, 'var/lib/x'));
  await symlink(machine, join(root, 'srv'));
  await assert.rejects(makeDirectories(root, 'srv/x', 0o700), /cannot write to srv\/x: in the image/);
  assert.deepEqual(await readdir(machine), []);
});
