import { appendFile, copyFile, readFile, truncate, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { findBootImage } from '../../initramfs/boot-media/boot-image.ts';
import { type Machine, type MachineDisk, startMachine } from '../sandbox/machine.ts';
import { whileProgressing } from '../sandbox/progress-limits.ts';
import type { Row } from './rows.ts';
import { machineMac } from './site.ts';

export const build = resolve(import.meta.dirname, '../../build');

/** Where and how a row's story takes place. */
export interface Scene {
  readonly row: Row;
  /** Exists and is empty; keeps the logs. */
  readonly directory: string;
  /** The cable of the machine's card, in this network namespace. */
  readonly tap: string;
  readonly signal: AbortSignal;
}

/**
 * What happens to a machine that is started without firmware, from power-on to the end.
 * @throws {Error} something else happened
 */
export type Story = (scene: Scene) => Promise<void>;

/** Starts the boot image, in a machine with a watchdog. A restart ends the machine. */
export async function startBootImage(
  { row, directory, tap, signal }: Scene,
  options: {
    readonly kernelArguments: readonly string[];
    readonly secondInitramfs?: string;
    readonly disks?: readonly MachineDisk[];
  },
): Promise<Machine> {
  const image = await findBootImage(build, row.architecture);
  const initramfs = join(directory, 'initramfs');
  await copyFile(image.initramfs, initramfs);
  if (options.secondInitramfs !== undefined) await appendFile(initramfs, await readFile(options.secondInitramfs));
  const commandLine = ['console=tty0', 'console=ttyS0,115200', ...options.kernelArguments].join(' ');
  return await startMachine({
    ...{ name: 'machine', directory, memoryMiB: row.memoryMiB, disks: options.disks ?? [], signal },
    ...{ endsOnReboot: true, watchdog: true },
    boot: { kind: 'kernel', kernel: image.kernel, initramfs, commandLine },
    cards: [{ mac: machineMac, model: row.card, network: { kind: 'tap', interface: tap } }],
  });
}

/** Starts what has been installed on a disk. */
export function startInstalled({ row, directory, tap, signal }: Scene, disk: MachineDisk): Promise<Machine> {
  return startMachine({
    ...{ name: 'installed', directory, memoryMiB: row.memoryMiB, disks: [disk], signal },
    boot: { kind: 'firmware', order: ['disks'] },
    cards: [{ mac: machineMac, model: row.card, network: { kind: 'tap', interface: tap } }],
  });
}

/** A wait that ends when the machine makes no progress. */
export function whileItRuns<T>(
  machine: Machine,
  { tap, signal }: Scene,
  wait: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return whileProgressing(machine, { tap, signal }, wait);
}

/**
 * Until the machine has restarted or is off.
 * @throws {Error} it ended otherwise, or makes no progress
 */
export async function waitForEnd(machine: Machine, scene: Scene): Promise<void> {
  const code = await whileItRuns(machine, scene, (limit) => {
    const overdue = Promise.withResolvers<never>();
    limit.addEventListener('abort', () => overdue.reject(limit.reason), { once: true });
    return Promise.race([machine.exited, overdue.promise]);
  });
  if (code !== 0) throw new Error(`the machine ended with code ${code}`);
}

/** An empty disk, as a sparse file. */
export async function makeDisk(
  directory: string,
  bus: NonNullable<MachineDisk['bus']>,
  sizeBytes: number,
): Promise<MachineDisk> {
  const path = join(directory, 'disk.img');
  await writeFile(path, '');
  await truncate(path, sizeBytes);
  return { path, bus };
}
