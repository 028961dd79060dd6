import { runTool, ToolError } from '../../tools/run-tool.ts';
import { findPartition } from '../disk/gpt.ts';
import type { TargetDisk } from '../disk/target-disk.ts';
import { ConfigurationError } from './errors.ts';

export interface EfiEntryOptions {
  /** `amd64-usr` or `arm64-usr`. */
  readonly board: string;
  /** `stable`, …: part of the entry's name. */
  readonly channel: string;
}

/**
 * Checks before the disk is changed that a boot entry can be added.
 * @throws {ConfigurationError} efibootmgr is missing, or this machine was not booted by UEFI
 */
export async function checkEfi(signal?: AbortSignal): Promise<void> {
  try {
    await runTool('efibootmgr', [], { signal, timeoutSeconds: 60 });
  } catch (cause) {
    if (!(cause instanceof ToolError)) throw cause;
    throw new ConfigurationError({
      what: 'add a boot entry to',
      target: 'the firmware of this machine',
      why: cause.missing ? 'efibootmgr is not installed' : cause.why,
      hint: 'leave out -u; firmware that searches disks for boot loaders needs no entry',
      cause,
    });
  }
}

/** Partitions by their unique GUIDs, as they were before the disk was changed. */
export interface KnownPartitions {
  /** Of the disk that is installed to. */
  readonly former: ReadonlySet<string>;
  /** Of the other disks of the machine. */
  readonly others: ReadonlySet<string>;
}

/**
 * Adds a boot entry for the disk to the firmware, as the first one, as the original does with -u.
 * Entries of earlier installations to this disk are removed; the new one takes the place of the
 * first of them. Those of other systems stay, and so does the order of all others. The disk must be
 * committed, because efibootmgr reads its partition table.
 * @throws {ToolError} efibootmgr is missing, or this machine was not booted by UEFI; {DiskError}
 *   there is no EFI partition
 */
export async function createEfiEntry(
  disk: TargetDisk,
  options: EfiEntryOptions,
  { former, others }: KnownPartitions,
  signal?: AbortSignal,
): Promise<void> {
  const efibootmgr = async (...args: string[]) =>
    (await runTool('efibootmgr', args, { signal, timeoutSeconds: 60 })).stdout;
  const { number, uniqueGuid } = findPartition(await disk.readTable(), 'EFI-SYSTEM', disk.path);
  const before = parseEfiEntries(await efibootmgr('-v'));
  await efibootmgr(...efiEntryArguments(disk.path, number, options));
  const created = parseEfiEntries(await efibootmgr('-v')).entries.find(
    (entry) => !before.entries.some((other) => other.number === entry.number),
  );
  if (created === undefined) return;
  const stale = before.entries.filter(
    ({ label, partitionGuid = '' }) =>
      label.startsWith(labelStart) &&
      (former.has(partitionGuid) || partitionGuid === uniqueGuid) &&
      // Each disk with the same image has the same GUID.
      !others.has(partitionGuid),
  );
  if (stale.length === 0) return;
  for (const entry of stale) await efibootmgr('--bootnum', entry.number, '--delete-bootnum');
  const order = replaceInOrder(
    before.order,
    stale.map((entry) => entry.number),
    created.number,
  );
  await efibootmgr('--bootorder', order.join());
}

/** A boot entry of the firmware. */
export interface EfiEntry {
  /** Four hexadecimal digits. */
  readonly number: string;
  readonly label: string;
  /** Lower-case; undefined if it does not start from a GPT partition. */
  readonly partitionGuid: string | undefined;
}

/** Reads what `efibootmgr -v` prints (versions 15 to 18). */
export function parseEfiEntries(text: string): { readonly order: string[]; readonly entries: EfiEntry[] } {
  const order = /^BootOrder: *(.*)$/m.exec(text)?.[1] ?? '';
  const lines = text.matchAll(/^Boot([0-9A-F]{4})\*? (.*?)(?:\t(.*))?$/gim);
  const entries = [...lines].map(([, number = '', label = '', place = '']) => ({
    number: number.toUpperCase(),
    label: label.trim(),
    partitionGuid: /\bHD\(\d+,GPT,([0-9a-f-]{36}),/i.exec(place)?.[1]?.toLowerCase(),
  }));
  return { order: order.split(',').flatMap((number) => number.trim().toUpperCase() || []), entries };
}

/** @returns the order with `added` in the place of the first of `removed`, or as the first */
export function replaceInOrder(order: readonly string[], removed: readonly string[], added: string): string[] {
  const place = order.findIndex((number) => removed.includes(number));
  const before = place < 0 ? [] : order.slice(0, place);
  const after = order.slice(Math.max(place, 0)).filter((number) => !removed.includes(number));
  return [...before, added, ...after];
}

const labelStart = 'Flatcar Container Linux ';

/** Arguments of efibootmgr. */
export function efiEntryArguments(path: string, partitionNumber: number, options: EfiEntryOptions): string[] {
  const loader = options.board === 'arm64-usr' ? 'bootaa64.efi' : 'bootx64.efi';
  return [
    '--create',
    ...['--disk', path],
    ...['--part', String(partitionNumber)],
    ...['--loader', `\\efi\\boot\\${loader}`],
    ...['--label', `${labelStart}${options.channel}`],
  ];
}
