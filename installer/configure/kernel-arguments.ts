import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from '../disk/in-use.ts';
import type { TargetDisk } from '../disk/target-disk.ts';
import { ConfigurationError } from './errors.ts';
import { writeFileWhole } from './file.ts';
import { editPartition } from './partition.ts';
import type { Way } from './rehearsal.ts';

/** Arguments for the kernel command line of every boot of the installed system. */
export interface KernelArguments {
  /** Added to those of the image. */
  readonly append: readonly string[];
  /**
   * As in `console=…`, in place of those of the image; the last is /dev/console. Empty: those of
   * the image stay.
   */
  readonly consoles: readonly string[];
}

const begin = '# Kernel arguments of flatcar-install: begin';
const end = '# Kernel arguments of flatcar-install: end';

/**
 * Writes kernel arguments into `grub.cfg` on the OEM partition of this disk, which Flatcar's boot
 * loader reads before it builds the command line. The rest of the file is kept; arguments of an
 * earlier call are replaced.
 * @throws {DiskError} the disk has no OEM partition; {ConfigurationError} it cannot be written to
 */
export async function installKernelArguments(
  disk: TargetDisk,
  kernelArguments: KernelArguments,
  signal?: AbortSignal,
  way?: Way,
): Promise<void> {
  const write = async (root: string) => {
    const path = join(root, 'grub.cfg');
    const before = await readFile(path, 'utf8').catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return '';
      throw error;
    });
    await writeFileWhole(path, Buffer.from(withKernelArguments(before, kernelArguments)), 0o644);
  };
  await editPartition(disk, 'OEM', write, signal, way);
}

/**
 * Checks that each argument reaches the kernel unchanged.
 * @throws {ConfigurationError} one does not
 */
export function checkKernelArguments({ append, consoles }: KernelArguments): void {
  const refuse = (option: string, value: string, why: string, hint: string) =>
    new ConfigurationError({ what: 'use', target: `${option} '${value}'`, why, hint });
  for (const [option, values] of [
    ['--append-karg', append],
    ['--console', consoles],
  ] as const) {
    for (const value of values) {
      if (value === '') throw refuse(option, value, 'it is empty', `leave out ${option}`);
      if (/\s/.test(value)) {
        throw refuse(option, value, 'it contains a space', `give ${option} once for each argument`);
      }
      // The boot loader splits the line again when it starts the kernel.
      if (!/^[\x21-\x7e]+$/.test(value) || /["'\\]/.test(value)) {
        throw refuse(
          option,
          value,
          'the boot loader cannot pass quotes, backslashes or non-ASCII characters to the kernel',
          'remove them',
        );
      }
    }
  }
}

/**
 * A grub.cfg with these arguments at its end. Source: GRUB manual, "Writing your own configuration
 * file directly" for the quoting; Flatcar's grub.cfg for the variables.
 */
export function withKernelArguments(text: string, { append, consoles }: KernelArguments): string {
  const own = new RegExp(`^${begin}\n.*?^${end}\n`, 'gms');
  const kept = text.replace(own, '');
  const lines = [begin];
  if (consoles.length > 0)
    lines.push(`set linux_console="${quote(consoles.map((name) => `console=${name}`).join(' '))}"`);
  for (const argument of append) lines.push(`set linux_append="$linux_append ${quote(argument)}"`);
  lines.push(end);
  return `${kept}${kept === '' || kept.endsWith('\n') ? '' : '\n'}${lines.join('\n')}\n`;
}

function quote(text: string): string {
  return text.replaceAll('$', '\\$');
}
