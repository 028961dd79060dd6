import { deepEqual, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { architectures, readLockFile } from '../../debian/lock-file.ts';
import { productLock, productSets } from '../../initramfs/package-sets.ts';

test('the lock file has all packages of the products, for both architectures', async () => {
  const lock = await readLockFile(productLock);
  for (const architecture of architectures) {
    const locked = lock?.architectures[architecture];
    const names = new Set(locked?.packages.map(({ name }) => name));
    for (const set of productSets(architecture)) {
      const entry = locked?.sets[set.name];
      deepEqual(entry?.requested, set.packages, `${set.name} for ${architecture}: run make update`);
      for (const name of entry?.packages ?? []) ok(names.has(name), `${name} for ${architecture}`);
    }
  }
});

test('the kernel is Debian 13’s 6.12 or newer', async () => {
  const lock = await readLockFile(productLock);
  for (const architecture of architectures)
    ok(lock?.architectures[architecture]?.sets['kernel']?.packages.some((name) => /^linux-image-6\.12\./.test(name)));
});
