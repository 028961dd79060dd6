import { join } from 'node:path';
import type { TargetDisk } from '../../disk/target-disk.ts';
import { writeSecretFile } from '../file.ts';
import { editPartition } from '../partition.ts';
import type { Way } from '../rehearsal.ts';

/**
 * Writes an Ignition config to `config.ign` on the OEM partition of this disk, which Flatcar reads
 * at first boot. Works after `writeImage`, before and after the image was committed.
 * @throws {DiskError} the disk has no OEM partition; {ConfigurationError} it cannot be written to
 */
export async function installIgnition(
  disk: TargetDisk,
  bytes: Uint8Array,
  signal?: AbortSignal,
  way?: Way,
): Promise<void> {
  await editPartition(disk, 'OEM', (root) => writeSecretFile(join(root, 'config.ign'), bytes), signal, way);
}
