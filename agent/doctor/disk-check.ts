import { constants } from 'node:fs';
import { access, statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { reasonOf } from '../../errors/reason.ts';
import type { AgentAttributes } from '../hardware/attributes.ts';
import type { Config } from '../settings/settings.ts';
import { type Finding, finding } from './finding.ts';

export interface DiskCheckOptions {
  readonly config: Pick<Config, 'stateDirectory' | 'workDirectory' | 'transport'>;
  /** The inventory of the machine. */
  readonly inventory: AgentAttributes;
  /** Directory of the engine's images on this machine; `undefined`: unknown. */
  readonly imageStore: string | undefined;
}

/** Below this an image of an action hardly fits. */
const scarceBytes = 256 * 1024 ** 2;

/** Types of statfs(2) whose files are in memory: tmpfs and ramfs. */
const memoryTypes: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);

/** Whether the directories can be used, free space for images, and the disks to install to. */
export async function checkDisks({ config, inventory, imageStore }: DiskCheckOptions): Promise<Finding[]> {
  const { stateDirectory, workDirectory, transport } = config;
  const state = transport === 'file' ? [] : [await checkDirectory(stateDirectory, '--state-directory')];
  const images = imageStore === undefined ? [] : [await checkSpace(imageStore)];
  return [...state, await checkDirectory(workDirectory, '--work-directory'), ...images, checkTargets(inventory)];
}

/** The directory need not exist: the agent makes it. Nothing is written. */
async function checkDirectory(directory: string, flag: string): Promise<Finding> {
  const advice = `give a directory that can be written to with ${flag}`;
  try {
    const existing = await nearestExisting(resolve(directory), constants.W_OK);
    const { type, bavail, bsize } = await statfs(existing);
    if (bavail === 0) return finding('disks', 'error', 'its file system is full', { target: directory, advice });
    const place = memoryTypes.has(type) ? 'in memory: it does not survive a restart of the machine' : 'on a disk';
    return finding('disks', 'ok', `${place}, ${megabytes(bavail * bsize)} free`, { target: directory });
  } catch (error) {
    return finding('disks', 'error', `it cannot be written to: ${reasonOf(error)}`, { target: directory, advice });
  }
}

async function checkSpace(directory: string): Promise<Finding> {
  const target = `images in ${directory}`;
  try {
    const { bavail, bsize } = await statfs(await nearestExisting(directory, constants.F_OK));
    const message = `${megabytes(bavail * bsize)} free`;
    if (bavail * bsize >= scarceBytes) return finding('disks', 'ok', message, { target });
    const advice = 'give the machine more memory or the engine a disk, or remove images that are not needed';
    return finding('disks', 'warning', message, { target, advice });
  } catch (error) {
    return finding('disks', 'unchecked', `its file system cannot be asked: ${reasonOf(error)}`, { target });
  }
}

/** @throws what access(2) says of the deepest part of the path that exists */
async function nearestExisting(path: string, mode: number): Promise<string> {
  try {
    await access(path, mode);
    return path;
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!isMissing || path === '/') throw error;
    return await nearestExisting(dirname(path), mode);
  }
}

function checkTargets({ block }: AgentAttributes): Finding {
  // One without a medium, such as an empty card reader, has no size.
  const disks = block.filter(({ driveType, size }) => driveType !== 'ODD' && size !== undefined && size !== '');
  const target = 'disks of the machine';
  if (disks.length > 0)
    return finding('disks', 'ok', disks.map(({ name, size }) => `/dev/${name} ${size ?? ''}`.trim()).join(', '), {
      target,
    });
  return finding('disks', 'warning', 'there is none that an operating system could be installed to', {
    target,
    advice: 'check the controller in the firmware setup, and load its driver with modules= on the kernel command line',
  });
}

function megabytes(bytes: number): string {
  return `${Math.floor(bytes / 1e6)} MB`;
}
