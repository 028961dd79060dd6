import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { mkdtempDisposable, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fetchBootLoaders } from '../../../initramfs/boot-media/boot-loaders.ts';
import { writeNetboot } from '../../../initramfs/boot-media/netboot.ts';
import { runTool } from '../../../tools/run-tool.ts';
import { build, makeSmallImage } from './small-image.ts';

test('writeNetboot() lays out what UEFI machines load, with the signed loaders of Debian', async () => {
  await using scratch = await mkdtempDisposable(join(build, 'netboot-test-')); // kernel and initramfs are linked
  const image = await makeSmallImage(scratch.path);
  const loaders = await fetchBootLoaders(join(build, 'cache'), 'amd64');
  const directory = join(scratch.path, 'netboot');
  await writeNetboot(directory, image, { site: 'a=b', otherwise: 'console=ttyS0' }, loaders);

  const files = (await readdir(directory, { recursive: true })).sort();
  deepEqual(files, [
    ...['bootx64.efi', 'grub', 'grub/grub.cfg', 'grubx64.efi'],
    ...['initramfs-x86_64', 'shimx64.efi', 'vmlinuz-x86_64'],
  ]);
  const same = async (name: string, as: string) =>
    ok((await readFile(join(directory, name))).equals(await readFile(as)), name);
  await same('shimx64.efi', loaders.shim);
  await same('bootx64.efi', loaders.shim);
  await same('grubx64.efi', loaders.networkGrub);
  await same('vmlinuz-x86_64', image.kernel);
  equal(await readFile(join(directory, 'initramfs-x86_64'), 'utf8'), 'the initramfs\n');
  const config = join(directory, 'grub/grub.cfg');
  await runTool('grub-script-check', [config]);
  match(await readFile(config, 'utf8'), /linux \$boot_files\/vmlinuz-x86_64 'a=b' \$kernel_arguments;/);
});
