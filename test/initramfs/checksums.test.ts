import { equal } from 'node:assert/strict';
import { mkdtempDisposable, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeChecksums } from '../../initramfs/checksums.ts';

// As printed by sha256sum.
const sums = {
  one: '7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed',
  two: '3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3',
};

test('writeChecksums() keeps what is there of another architecture, with its present checksum', async () => {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-checksums-'));
  const at = (name: string) => join(scratch.path, name);
  for (const [name, content] of Object.entries({ 'vmlinuz-aarch64': 'one', 'initramfs-aarch64': 'one' }))
    await writeFile(at(name), content);
  await writeChecksums(scratch.path, ['vmlinuz-aarch64', 'initramfs-aarch64']);

  await writeFile(at('vmlinuz-x86_64'), 'one');
  await writeFile(at('vmlinuz-aarch64'), 'two');
  await rm(at('initramfs-aarch64'));
  await writeChecksums(scratch.path, ['vmlinuz-x86_64']);
  equal(await readFile(at('SHA256SUMS'), 'utf8'), `${sums.two}  vmlinuz-aarch64\n${sums.one}  vmlinuz-x86_64\n`);
});
