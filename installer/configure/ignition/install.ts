import { join } from 'node:path';
import type { TargetDisk } from '../../disk/target-disk.ts';
import { writeSecretFile } from '../file.ts';
import { editPartition } from '../partition.ts';

/**
 * Writes an Ignition config to where Flatcar looks for it at first boot: `config.ign` on the OEM partition of this disk.
 * Works from `writeImage` on, before and after the image was committed.
 * @throws DiskError when the disk has no OEM partition; ConfigurationError when it cannot be written to.
 */
export async function installIgnition(disk: TargetDisk, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
  await editPartition(disk, 'OEM', (root) => writeSecretFile(join(root, 'config.ign'), bytes), signal);
}
