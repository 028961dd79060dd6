import { open } from 'node:fs/promises';
import { type FoundTable, parseEitherTable } from './gpt.ts';
import type { Disk } from './lsblk.ts';
import { endBytes } from './target-disk.ts';

/**
 * Reads the partition table of a disk that need not be claimed.
 * @throws {DiskError} the table is damaged, and its backup cannot be used; errors of the system
 */
export async function readTable(disk: Pick<Disk, 'path' | 'sizeBytes' | 'sectorSizeBytes'>): Promise<FoundTable> {
  await using device = await open(disk.path, 'r');
  const read = async (position: number) => {
    const { buffer, bytesRead } = await device.read(Buffer.alloc(endBytes), 0, endBytes, position);
    return buffer.subarray(0, bytesRead);
  };
  return parseEitherTable(await read(0), await read(Math.max(0, disk.sizeBytes - endBytes)), disk);
}
