import { join } from 'node:path';
import { PlacedFileError, readPlacedFile } from '../../files/read-placed-file.ts';
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
  /** Removed from those of the image's OEM partition; each is a whole argument. */
  readonly remove?: readonly string[];
  /**
   * As in `console=…`, in place of those of the image; the last is /dev/console. Empty: those of
   * the image stay.
   */
  readonly consoles: readonly string[];
  /** What the boot loader passes as `flatcar.oem.id=`; Ignition takes its platform from it. */
  readonly platform?: string | undefined;
}

const begin = '# Kernel arguments of flatcar-install: begin';
const end = '# Kernel arguments of flatcar-install: end';
/** Far more than a file for a boot loader has. */
const maxGrubBytes = 1024 * 1024;

/**
 * Writes kernel arguments into `grub.cfg` on the OEM partition of this disk, which Flatcar's boot
 * loader reads before it builds the command line. The rest of the file is kept; arguments of an
 * earlier call are replaced.
 * @returns warnings about what the file had
 * @throws {DiskError} the disk has no OEM partition; {ConfigurationError} it cannot be written to
 */
export async function installKernelArguments(
  disk: TargetDisk,
  kernelArguments: KernelArguments,
  signal?: AbortSignal,
  way?: Way,
): Promise<readonly string[]> {
  let warnings: readonly string[] = [];
  const write = async (root: string) => {
    warnings = await changeGrubConfig(root, kernelArguments);
  };
  await editPartition(disk, 'OEM', write, signal, way);
  return warnings;
}

/**
 * @param root top directory of the OEM partition
 * @returns warnings about what the file had
 * @throws {ConfigurationError} what the image has there is no file; {Error} of the system
 */
export async function changeGrubConfig(root: string, kernelArguments: KernelArguments): Promise<readonly string[]> {
  const path = join(root, 'grub.cfg');
  const before = await readGrubConfig(path);
  await writeFileWhole(path, Buffer.from(withKernelArguments(before, kernelArguments)), 0o644);
  return warningsOf(withoutOwn(before), kernelArguments);
}

/** A link of the image would lead to a file of this machine, whose content went onto the disk. */
async function readGrubConfig(path: string): Promise<string> {
  try {
    return (await readPlacedFile(path, maxGrubBytes)).toString('utf8');
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return '';
    if (!(cause instanceof PlacedFileError)) throw cause;
    const target = 'grub.cfg on the OEM partition';
    throw new ConfigurationError({
      what: 'change',
      target,
      why: `it ${cause.message}`,
      hint: 'check the image',
      cause,
    });
  }
}

function warningsOf(text: string, { remove = [], platform }: KernelArguments): string[] {
  const present = [...text.matchAll(setAppend)].flatMap(([, , value = '']) => value.split(/\s+/));
  const missing = remove.filter((argument) => !present.includes(argument));
  const id = [...text.matchAll(/^[ \t]*set oem_id="?([\w-]+)"?/gm)].at(-1)?.[1];
  return [
    ...missing.map((argument) => `--delete-karg ${argument}: the image does not have it`),
    ...(platform === undefined || id === undefined || id === platform
      ? []
      : [`the image is made for the platform ${id}; it gets ${platform} (--platform)`]),
  ];
}

/**
 * Checks that each argument reaches the kernel unchanged.
 * @throws {ConfigurationError} one does not
 */
export function checkKernelArguments({ append, remove = [], consoles }: KernelArguments): void {
  const refuse = (option: string, value: string, why: string, hint: string) =>
    new ConfigurationError({ what: 'use', target: `${option} '${value}'`, why, hint });
  for (const [option, values] of [
    ['--append-karg', append],
    ['--delete-karg', remove],
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
  for (const argument of remove) {
    if (argument.startsWith('console='))
      throw refuse('--delete-karg', argument, 'consoles are replaced as a whole', 'give --console');
    if (/^(?:flatcar|coreos)\.oem\.id=/.test(argument))
      throw refuse('--delete-karg', argument, 'it says which platform the machine is', 'give --platform');
    if (fixedArguments.test(argument)) {
      const why = 'the boot loader itself adds it, after it has read what the installer can change';
      throw refuse('--delete-karg', argument, why, 'override it with --append-karg, where the last one counts');
    }
  }
}

/** What Flatcar's grub.cfg adds besides the variables that the OEM partition can set. */
const fixedArguments =
  /^(?:rootflags=rw|mount\.usrflags=ro|consoleblank=0|(?:mount|verity)\.usr=.*|root=LABEL=ROOT|flatcar\.first_boot=.*|acpi=force)$/;

/**
 * A grub.cfg with these arguments at its end. Source: GRUB manual, "Writing your own configuration
 * file directly" for the quoting; Flatcar's grub.cfg for the variables.
 */
export function withKernelArguments(text: string, kernelArguments: KernelArguments): string {
  const { append, remove = [], consoles, platform } = kernelArguments;
  const kept = withoutArguments(withoutOwn(text), remove);
  const lines = [begin];
  if (platform !== undefined) lines.push(`set oem_id="${platform}"`);
  if (consoles.length > 0)
    lines.push(`set linux_console="${quote(consoles.map((name) => `console=${name}`).join(' '))}"`);
  for (const argument of append) lines.push(`set linux_append="$linux_append ${quote(argument)}"`);
  lines.push(end);
  return `${kept}${kept === '' || kept.endsWith('\n') ? '' : '\n'}${lines.join('\n')}\n`;
}

/** Without what an earlier call wrote. */
function withoutOwn(text: string): string {
  return text.replace(new RegExp(`^${begin}\n.*?^${end}\n`, 'gms'), '');
}

/** The form that Flatcar's own `ignition-kargs-helper` changes too; within conditions as well. */
const setAppend = /^([ \t]*set linux_append=)"([^"\n]*)"/gm;

function withoutArguments(text: string, remove: readonly string[]): string {
  if (remove.length === 0) return text;
  return text.replace(setAppend, (_statement, start: string, value: string) => {
    const kept = value.split(/\s+/).filter((argument) => !remove.includes(argument));
    return `${start}"${kept.join(' ')}"`;
  });
}

function quote(text: string): string {
  return text.replaceAll('$', '\\$');
}
