import { join } from 'node:path';
import type { TargetDisk } from '../disk/target-disk.ts';
import { makeDirectories, writeSecretFile } from './file.ts';
import { editPartition } from './partition.ts';

/**
 * Writes a cloud-config (or a script for coreos-cloudinit) to `var/lib/flatcar-install/user_data`
 * on the ROOT partition of this disk, which the installed system reads at every boot.
 * @throws {DiskError} the disk has no ROOT partition; {ConfigurationError} it cannot be written to
 */
export async function installCloudConfig(disk: TargetDisk, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
  const write = async (root: string) => {
    await makeDirectories(root, 'var/lib', 0o755);
    // A cloud-config may hold secrets. One that is there keeps its mode.
    const directory = await makeDirectories(root, 'var/lib/flatcar-install', 0o700);
    await writeSecretFile(join(directory, 'user_data'), bytes);
  };
  await editPartition(disk, 'ROOT', write, signal);
}
