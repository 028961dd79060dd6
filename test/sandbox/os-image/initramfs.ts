import { cp, mkdir, realpath, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { copyModules } from './modules.ts';
import { initramfsPrograms, kernelModules } from './recipe.ts';
import { resetTimes } from './reproducible.ts';
import type { System } from './system.ts';

/**
 * Packs busybox, Ignition, the users' programs it calls, the kernel modules and our own
 * `files/initramfs` into a zstd-compressed cpio archive.
 * @returns the path of the archive.
 */
export async function makeInitramfs(
  system: System,
  ownFiles: string,
  directory: string,
  signal: AbortSignal,
): Promise<string> {
  const tree = join(directory, 'initramfs');
  for (const name of ['dev', 'proc', 'sys', 'run', 'sysroot', 'oem', 'esp', 'tmp', 'etc']) {
    await mkdir(join(tree, name), { recursive: true });
  }
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    await mkdir(join(tree, 'usr', name), { recursive: true });
    await symlink(`usr/${name}`, join(tree, name));
  }
  await addBusybox(system.root, tree, signal);
  for (const { from, to } of initramfsPrograms) {
    await cp(join(system.root, from), join(tree, to));
    for (const library of await librariesOf(system.root, from, signal)) {
      await mkdir(dirname(join(tree, library)), { recursive: true });
      await cp(await realpath(join(system.root, library)), join(tree, library));
    }
  }
  await copyModules(join(system.root, '..', 'kernel'), tree, system.release, kernelModules, signal);
  await cp(ownFiles, tree, { recursive: true });
  return await pack(tree, join(directory, 'initramfs.cpio.zst'), signal);
}

async function addBusybox(root: string, tree: string, signal: AbortSignal): Promise<void> {
  const busybox = join(tree, 'usr/bin/busybox');
  await cp(join(root, 'usr/bin/busybox'), busybox);
  const { stdout } = await execa(busybox, ['--list'], { cancelSignal: signal });
  for (const name of stdout.split('\n').filter((name) => name !== 'busybox')) {
    await symlink('busybox', join(tree, 'usr/bin', name));
  }
  await symlink('../bin/busybox', join(tree, 'usr/sbin/modprobe')); // where the kernel itself looks for it
}

/** Absolute paths, as the system's own loader resolves them. */
async function librariesOf(root: string, program: string, signal: AbortSignal): Promise<string[]> {
  const { stdout } = await execa('chroot', [root, '/lib64/ld-linux-x86-64.so.2', '--list', `/${program}`], {
    cancelSignal: signal,
  });
  const libraries = stdout.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm).map(([, path = '']) => path);
  return [...libraries, '/lib64/ld-linux-x86-64.so.2'];
}

async function pack(tree: string, file: string, signal: AbortSignal): Promise<string> {
  await resetTimes(tree, signal);
  // The shell's pipe, not ours: the archive passes through no memory of this process.
  await execa(
    'sh',
    [
      '-ec',
      'find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc --reproducible --quiet | zstd -q -f -9 -T0 -o "$1"',
      'sh',
      file,
    ],
    { cwd: tree, cancelSignal: signal },
  );
  return file;
}
