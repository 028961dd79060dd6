import { statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { ActionName } from './action/action.ts';
import type { RuntimeEvent } from './runtime/event.ts';

/**
 * Free space of the file system that holds a directory, which need not exist.
 *
 * @returns bytes; `undefined` if the file system cannot be asked
 */
export async function freeBytes(directory: string): Promise<number | undefined> {
  const path = resolve(directory);
  try {
    // Not `df`: starting a process costs more than all other work of the agent for an action.
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    return isMissing && path !== '/' ? await freeBytes(dirname(path)) : undefined;
  }
}

/**
 * Watches pulls and warns once for each image that cannot fit: it needs at least the size of its
 * compressed layers.
 *
 * @param directory where the engine keeps its images
 */
export function createSpaceWatch(
  directory: string,
  warn: (action: ActionName, message: string) => void,
  free: (directory: string) => Promise<number | undefined> = freeBytes,
): (event: RuntimeEvent) => void {
  let atStart: Promise<number | undefined> | undefined;

  async function compare(event: Extract<RuntimeEvent, { kind: 'pull-progress' }>, known: Promise<number | undefined>) {
    const bytes = await known;
    if (bytes === undefined || event.totalBytes <= bytes || atStart !== known) return;
    atStart = undefined;
    const megabytes = (amount: number) => `${(amount / 1e6).toFixed(1)} MB`;
    warn(
      event.action,
      `the image ${event.image} cannot fit: it has at least ${megabytes(event.totalBytes)}, and ${directory} had ${megabytes(bytes)} free (give the machine more memory or the engine a disk)`,
    );
  }

  return (event) => {
    if (event.kind === 'pulling') atStart = free(directory);
    if (event.kind === 'pull-progress' && atStart !== undefined) void compare(event, atStart);
  };
}
