import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type LockFile, readLockFile } from '../../debian/lock-file.ts';
import { selectPackages } from '../../debian/select.ts';
import { agentPackages, bootPackages, productLock } from '../../initramfs/package-sets.ts';

test('selectPackages() fetches the locked versions', async () => {
  const locked = await readProductLock();
  const { packages, files, replaced } = await selectPackages(agentPackages, {
    lockFile: productLock,
    architecture: 'amd64',
  });
  deepEqual(replaced, []);
  ok(['libc6', 'libgcc-s1'].every((name) => files.has(name)));
  for (const one of packages) {
    const inLock = locked.architectures.amd64?.packages.find(({ name }) => name === one.name);
    deepEqual(one, inLock);
    const content = await readFile(files.get(one.name) ?? '');
    equal(content.length, inLock?.sizeBytes);
    equal(createHash('sha256').update(content).digest('hex'), inLock?.sha256);
  }
});

test('selectPackages() takes current versions of the whole set if one is on no mirror, and names each', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-packages-'));
  const locked = await readProductLock();
  const current = locked.architectures.amd64?.packages.find(({ name }) => name === 'libgcc-s1');
  ok(current);
  const [sha256, path] = ['0'.repeat(64), `pool/main/g/gcc-14/libgcc-s1_14.0-1_amd64.deb`];
  Object.assign(current, { version: '14.0-1', sha256, path });
  const lockFile = join(directory.path, 'packages.lock.json');
  await writeFile(lockFile, JSON.stringify(locked));

  const messages: string[] = [];
  const { packages, files, replaced } = await selectPackages(agentPackages, {
    lockFile,
    architecture: 'amd64',
    onReplaced: (message) => messages.push(message),
  });
  const used = packages.find(({ name }) => name === 'libgcc-s1');
  deepEqual(
    replaced.filter(({ name }) => name === 'libgcc-s1'),
    [{ name: 'libgcc-s1', locked: '14.0-1', used: used?.version }],
  );
  ok(packages.every(({ name }) => files.has(name)));
  equal(messages.length, 1);
  match(messages.join(), /no mirror has the locked libgcc-s1 14\.0-1.*libgcc-s1 14\.0-1 → 1\d\..*make update/);
});

test('selectPackages() refuses a set that the lock file does not have', async () => {
  const options = { lockFile: productLock, architecture: 'amd64' as const };
  await rejects(
    selectPackages({ ...bootPackages, packages: ['kmod'] }, options),
    /packages\.lock\.json does not have the packages of boot for amd64 \(run make update\)/,
  );
});

async function readProductLock(): Promise<LockFile> {
  const lock = await readLockFile(productLock);
  ok(lock);
  return lock;
}
