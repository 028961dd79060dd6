import { deepEqual, equal } from 'node:assert/strict';
import { mkdtempDisposable } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { cpio } from '../../initramfs/cpio.ts';
import { earlyTree, engineTree, type Sources, systemTree } from '../../initramfs/layers.ts';
import { fetchSystem } from '../../initramfs/system.ts';

const cache = resolve(import.meta.dirname, '../../build/cache');

test('the same packages give the same bytes, in another directory and at another time', async () => {
  const system = await fetchSystem(cache);
  const [one, other] = [await layers(system), await layers(system)];
  deepEqual(one.hashes, other.hashes);
  equal(Buffer.compare(one.early, other.early), 0);
});

/**
 * The contents of the layers. Module indexes are made anew; packing is tested in squashfs.test.ts.
 */
async function layers(system: Omit<Sources, 'executable' | 'scratch'>) {
  await using scratch = await mkdtempDisposable(join(cache, 'reproducible-')); // beside the packages: modules are hard links
  const executable = join(system.packages, 'usr/sbin/dockerd'); // of the executable, these layers have only the libraries
  const sources = { ...system, executable, scratch: scratch.path };
  const early = cpio(await earlyTree(sources), system.timeSeconds);
  const hashes = [(await systemTree(sources)).hash, (await engineTree(sources)).hash];
  return { early, hashes };
}
