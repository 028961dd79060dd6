import { open } from 'node:fs/promises';
import { parseTable } from './gpt.ts';
import type { Disk } from './lsblk.ts';
import { endBytes } from './target-disk.ts';

/**
 * The unique GUIDs of the partitions of these disks, by which firmware names them.
 * @returns lower-case; nothing of a disk that has no GPT or cannot be read
 */
export async function readPartitionGuids(
  disks: readonly Pick<Disk, 'path' | 'sectorSizeBytes'>[],
): Promise<Set<string>> {
  const found = await Promise.all(disks.map((disk) => guidsOn(disk).catch(() => [])));
  return new Set(found.flat());
}

async function guidsOn({ path, sectorSizeBytes }: Pick<Disk, 'path' | 'sectorSizeBytes'>): Promise<string[]> {
  await using device = await open(path, 'r');
  const { buffer, bytesRead } = await device.read(Buffer.alloc(endBytes), 0, endBytes, 0);
  const table = parseTable(buffer.subarray(0, bytesRead), path, sectorSizeBytes);
  return (table?.partitions ?? []).map(({ uniqueGuid }) => uniqueGuid);
}
