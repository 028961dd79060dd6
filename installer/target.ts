import { open } from 'node:fs/promises';
import type { Clock } from '../clock/clock.ts';
import { findBootLabel, findEarlierInstallations } from './disk/earlier-installation.ts';
import { DiskError } from './disk/errors.ts';
import { parseTable } from './disk/gpt.ts';
import { SavedPartitions } from './disk/saved-partitions.ts';
import { chooseSmallest, type Disk, defaultMinBytes, listDisks, NoDiskError } from './disk/select.ts';
import { endBytes } from './disk/target-disk.ts';
import type { Target } from './plan.ts';
import type { Report } from './progress.ts';

/**
 * @returns path of the disk
 * @throws {NoDiskError} `-s` finds no disk
 */
export async function chooseTarget(target: Target, clock: Clock, signal: AbortSignal): Promise<string> {
  if (target.kind === 'device') return target.path;
  const { includeMajors, excludeMajors, minBytes = defaultMinBytes } = target;
  const options = {
    minBytes,
    ...(includeMajors === undefined ? {} : { includeMajors }),
    ...(excludeMajors === undefined ? {} : { excludeMajors }),
  };
  const { chosen, candidates } = chooseSmallest(await listDisks(clock, signal), options);
  if (chosen === undefined) throw new NoDiskError(candidates, minBytes);
  return chosen.path;
}

/**
 * Finds the partitions to keep while the disk still has its table.
 * @returns undefined if there are none
 * @throws {DiskError} the table cannot be read, or a partition cannot be kept
 */
export async function findPartitionsToSave(
  disk: Pick<Disk, 'path' | 'sizeBytes' | 'sectorSizeBytes'>,
  labels: readonly string[],
  report: Report,
  signal: AbortSignal,
): Promise<SavedPartitions | undefined> {
  if (labels.length === 0) return undefined;
  const table = parseTable(await readStart(disk.path), disk.path, disk.sectorSizeBytes);
  if (table === undefined) {
    throw new DiskError({
      what: 'save',
      target: `partitions of ${disk.path}`,
      why: 'it has no partition table (GPT) at its start',
      hint: 'leave out --save-partlabel if there is nothing to save, or repair the table with gdisk',
    });
  }
  const saved = new SavedPartitions(table, labels, disk);
  for (const pattern of saved.unmatched) report.warn(`${disk.path} has no partition labelled ${pattern} to save`);
  if (saved.partitions.length === 0) return undefined;
  report.note(`Saving ${saved.partitions.map(({ number, label }) => `partition ${number} (${label})`).join(', ')}`);
  for (const partition of saved.partitions) {
    const label = await findBootLabel(disk.path, partition, signal);
    if (label === undefined) continue;
    report.warn(
      `partition ${partition.number} (${partition.label}) of ${disk.path} has a file system with the label ${label}; the installed system may use it instead of its own (change the label)`,
    );
  }
  return saved;
}

async function readStart(path: string): Promise<Uint8Array> {
  await using device = await open(path, 'r');
  const { buffer, bytesRead } = await device.read(Buffer.alloc(endBytes), 0, endBytes, 0);
  return buffer.subarray(0, bytesRead);
}

/** Called before the disk is changed, while a person can still decide otherwise. */
export async function warnOfEarlierInstallations(
  path: string,
  { report, clock, signal }: { readonly report: Report; readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  const others = await findEarlierInstallations(await listDisks(clock, signal), path, signal);
  for (const other of others) {
    report.warn(
      `${other.path} ${other.sign}; with both disks attached, the machine may boot the kernel of one with the root of the other (detach that disk, or clear it with wipefs --all ${other.path})`,
    );
  }
}
