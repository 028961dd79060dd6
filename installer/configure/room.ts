import { findPartition, type Partition, type PartitionTable } from '../disk/gpt.ts';
import type { Inspection } from '../disk/write.ts';
import { ConfigurationError } from './errors.ts';
import type { ConfigurationNeeds } from './rehearsal.ts';
import { filesystemOf, startBytes } from './superblock.ts';

/**
 * What to look at in an image while it arrives: whether the configuration certainly does not fit on
 * a partition beside what is there already. The superblocks are in the partitions themselves; in a
 * Flatcar image those come after the operating system.
 * @returns inspections that throw a {@link ConfigurationError}
 * @throws {DiskError} the image has no such partition
 */
export function inspectRoom(table: PartitionTable, { leastOemBytes, rootBytes }: ConfigurationNeeds): Inspection[] {
  const needs = [
    { label: 'OEM', neededBytes: leastOemBytes },
    { label: 'ROOT', neededBytes: rootBytes },
  ];
  return needs.flatMap(({ label, neededBytes }) => {
    if (neededBytes === undefined) return [];
    const partition = findPartition(table, label, 'the image');
    const lengthBytes = Math.min(startBytes, partition.sizeBytes);
    const inspect = (start: Uint8Array) => requireRoom(partition, start, neededBytes);
    return [{ offsetBytes: partition.offsetBytes, lengthBytes, inspect }];
  });
}

function requireRoom({ number, label }: Partition, start: Uint8Array, neededBytes: number): void {
  const found = filesystemOf(start);
  if (found === undefined) {
    throw new ConfigurationError({
      what: 'change files on',
      target: `partition ${number} (${label}) of the image`,
      why: 'its file system is neither btrfs nor ext4',
    });
  }
  if (found.freeBytes === undefined || neededBytes <= found.freeBytes) return;
  throw new ConfigurationError({
    what: 'write the configuration to',
    target: `the ${label} partition`,
    why: `${neededBytes} bytes do not fit on it: what is there already leaves ${found.freeBytes}`,
    hint: 'let the installed system download large files instead of having them in the config',
  });
}
