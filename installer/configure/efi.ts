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

/**
 * Adds a boot entry for the disk to the firmware, as the first one, as the original does with -u.
 * The disk must be committed, because efibootmgr reads its partition table.
 * @throws {ToolError} efibootmgr is missing, or this machine was not booted by UEFI; {DiskError}
 *   there is no EFI partition
 */
export async function createEfiEntry(disk: TargetDisk, options: EfiEntryOptions, signal?: AbortSignal): Promise<void> {
  const args = efiEntryArguments(
    disk.path,
    findPartition(await disk.readTable(), 'EFI-SYSTEM', disk.path).number,
    options,
  );
  await runTool('efibootmgr', args, { signal, timeoutSeconds: 60 });
}

/** Arguments of efibootmgr. */
export function efiEntryArguments(path: string, partitionNumber: number, options: EfiEntryOptions): string[] {
  const loader = options.board === 'arm64-usr' ? 'bootaa64.efi' : 'bootx64.efi';
  return [
    '--create',
    ...['--disk', path],
    ...['--part', String(partitionNumber)],
    ...['--loader', `\\efi\\boot\\${loader}`],
    ...['--label', `Flatcar Container Linux ${options.channel}`],
  ];
}
