import { mkdtemp, readFile, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

export interface ScratchMount extends AsyncDisposable {
  readonly directory: string;
}

/** Makes an ext4 file system on a device and mounts it. Needs root. */
export async function mountScratch(device: string): Promise<ScratchMount> {
  await execa('mke2fs', ['-q', '-t', 'ext4', device]);
  return await mountDevice(device);
}

/** Mounts a device that has a file system, with mount's own options (`-o ro`) if any. */
export async function mountDevice(device: string, ...options: string[]): Promise<ScratchMount> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-mount-'));
  try {
    await execa('mount', [...options, device, directory]);
  } catch (error) {
    await rmdir(directory);
    throw error;
  }
  return {
    directory,
    async [Symbol.asyncDispose]() {
      await execa('umount', [directory]);
      await rmdir(directory);
    },
  };
}

/** Takes away what is mounted below a directory, the innermost first. */
export async function unmountBelow(directory: string): Promise<void> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[1] ?? '');
  const below = mounts.filter((path) => path.startsWith(`${directory}/`)).toReversed();
  for (const path of below) await execa('umount', ['--lazy', path]);
}
