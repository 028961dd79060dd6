import { open } from 'node:fs/promises';
import { DiskError } from './errors.ts';
import { type FoundTable, parseEitherTable, parseTable } from './gpt.ts';
import type { Disk } from './lsblk.ts';
import { endBytes } from './target-disk.ts';

/**
 * Reads the partition table of a disk that need not be claimed. The end of the disk is read only
 * where the primary table is damaged.
 * @throws {DiskError} the table is damaged, and its backup cannot be used; errors of the system
 */
export async function readTable(disk: Pick<Disk, 'path' | 'sizeBytes' | 'sectorSizeBytes'>): Promise<FoundTable> {
  await using device = await open(disk.path, 'r');
  const read = async (position: number) => {
    const { buffer, bytesRead } = await device.read(Buffer.alloc(endBytes), 0, endBytes, position);
    return buffer.subarray(0, bytesRead);
  };
  const head = await read(0);
  try {
    return { table: parseTable(head, disk.path, disk.sectorSizeBytes), damage: undefined };
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    return parseEitherTable(head, await read(Math.max(0, disk.sizeBytes - endBytes)), disk);
  }
}
