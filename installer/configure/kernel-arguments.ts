import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from '../disk/in-use.ts';
import type { TargetDisk } from '../disk/target-disk.ts';
import { ConfigurationError } from './errors.ts';
import { writeFileWhole } from './file.ts';
import { editPartition } from './partition.ts';

/** What every start of the installed system gets on its kernel command line. */
export interface KernelArguments {
  /** Added to what the image has. */
  readonly append: readonly string[];
  /** As in `console=…`, in place of the image's own; the last is /dev/console. Empty to keep those. */
  readonly consoles: readonly string[];
}

const begin = '# Kernel arguments of flatcar-install: begin';
const end = '# Kernel arguments of flatcar-install: end';

/**
 * Writes kernel arguments into `grub.cfg` on the OEM partition of this disk, which Flatcar's boot loader reads before it puts the command line together.
 * What else the file says is kept; what an earlier call wrote there is replaced.
 * @throws DiskError when the disk has no OEM partition; ConfigurationError when it cannot be written to.
 */
export async function installKernelArguments(
  disk: TargetDisk,
  kernelArguments: KernelArguments,
  signal?: AbortSignal,
): Promise<void> {
  const write = async (root: string) => {
    const path = join(root, 'grub.cfg');
    const before = await readFile(path, 'utf8').catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return '';
      throw error;
    });
    await writeFileWhole(path, Buffer.from(withKernelArguments(before, kernelArguments)), 0o644);
  };
  await editPartition(disk, 'OEM', write, signal);
}

/**
 * Refuses what would not arrive at the kernel as it is written here.
 * @throws ConfigurationError
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
        throw refuse(option, value, 'an argument has no spaces in it', `give ${option} once for each argument`);
      }
      // The boot loader takes the line apart once more when it starts the kernel.
      if (!/^[\x21-\x7e]+$/.test(value) || /["'\\]/.test(value)) {
        throw refuse(
          option,
          value,
          'the boot loader cannot hand on quotes, backslashes and letters beyond ASCII',
          'leave those out',
        );
      }
    }
  }
}

/**
 * A grub.cfg with these arguments at its end.
 * Source: GRUB manual, "Writing your own configuration file directly" for the quoting; Flatcar's grub.cfg for the variables.
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
