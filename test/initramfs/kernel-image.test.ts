import { equal, throws } from 'node:assert/strict';
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { findKernelImage } from '../../initramfs/kernel-image.ts';

test('findKernelImage() finds the kernel where Debian 13 has it, and where newer kernels have it', async () => {
  for (const path of ['boot/vmlinuz-6.12.1-amd64', 'lib/modules/6.12.1-amd64/vmlinuz']) {
    await using packages = await mkdtempDisposable(join(tmpdir(), 'nibs-kernel-'));
    const installed = join(packages.path, path);
    await mkdir(dirname(installed), { recursive: true });
    await writeFile(installed, 'kernel');
    equal(findKernelImage(packages.path, '6.12.1-amd64'), installed);
  }
});

test('findKernelImage() names the places where it looked', async () => {
  await using packages = await mkdtempDisposable(join(tmpdir(), 'nibs-kernel-'));
  throws(
    () => findKernelImage(packages.path, '6.12.1-amd64'),
    /have none of boot\/vmlinuz-6\.12\.1-amd64, lib\/modules\/6\.12\.1-amd64\/vmlinuz$/,
  );
});
