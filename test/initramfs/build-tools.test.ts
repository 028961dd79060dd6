import { ok } from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { architectures, readLockFile } from '../../debian/lock-file.ts';
import { fetchBuildTools } from '../../initramfs/build-tools.ts';
import { productLock } from '../../initramfs/package-sets.ts';

const cache = resolve(import.meta.dirname, '../../build/cache');

test('depmod and mksquashfs are those of the lock file, whatever the machine has', async () => {
  const tools = await fetchBuildTools(cache);
  const { stdout: depmod } = await tools.run('depmod', ['--version'], { environment: { PATH: '/nowhere' } });
  const { stdout: mksquashfs } = await tools.run('mksquashfs', ['-version'], { environment: { PATH: '/nowhere' } });
  ok(depmod.startsWith(`kmod version ${await lockedVersion('kmod')}\n`), depmod);
  ok(mksquashfs.startsWith(`mksquashfs version ${await lockedVersion('squashfs-tools')} `), mksquashfs);
});

test('the tools are locked in the same upstream version for both architectures of build machines', async () => {
  const lock = await readLockFile(productLock);
  for (const name of ['kmod', 'squashfs-tools']) {
    const versions = architectures.map((one) => upstream(lock?.architectures[one]?.packages, name));
    ok(new Set(versions).size === 1 && versions[0] !== '', `${name}: ${versions.join(', ')}`);
  }
});

async function lockedVersion(name: string): Promise<string> {
  return upstream((await readLockFile(productLock))?.architectures.amd64?.packages, name);
}

/** `1:4.6.1-1+b1` → `4.6.1` */
function upstream(packages: readonly { name: string; version: string }[] | undefined, name: string): string {
  const { version = '' } = packages?.find((one) => one.name === name) ?? {};
  return version.replace(/^\d+:/, '').replace(/-[^-]*$/, '');
}
