import { existsSync } from 'node:fs';
import { constants, type FileHandle, open, readdir, readFile, realpath, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { reasonOf } from '../../errors/reason.ts';
import { DiskError } from './errors.ts';
import { codeOf } from './in-use.ts';
import type { Disk } from './select.ts';

/** Sectors of a disk that firmware can boot from. */
const sectorBytes = 512;

/**
 * Whether `-d` names a file in place of a device: a regular file, or a path at which there is
 * nothing yet, outside of /dev.
 */
export async function isImageFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    return codeOf(error) === 'ENOENT' && !path.startsWith('/dev/');
  }
}

/**
 * Describes a file as a disk. Nothing is changed.
 * @param sizeBytes the size that it will have. Default: the one it has
 * @throws {DiskError} there is no such file, and no size; it would be cut; it is attached to a loop
 *   device
 */
export async function describeImageFile(path: string, sizeBytes?: number): Promise<Disk> {
  const refuse = (why: string, hint?: string, cause?: unknown) =>
    new DiskError({ what: 'install to', target: path, why, hint, cause });
  const sizeHint = 'give its size with --size, such as --size 10GiB';
  const found = await statFile(path);
  if (found === undefined && sizeBytes === undefined)
    throw refuse('there is no such device', 'list the disks with --list-disks, or give --size to make a file');
  if (found !== undefined && sizeBytes !== undefined && found.sizeBytes > sizeBytes) {
    throw refuse(
      `it has ${found.sizeBytes} bytes, more than --size ${sizeBytes}`,
      'remove the file, or leave out --size',
    );
  }
  const size = sizeBytes ?? found?.sizeBytes ?? 0;
  if (size % sectorBytes !== 0)
    throw refuse(`it is a file of ${size} bytes, which is no multiple of ${sectorBytes}`, sizeHint);
  if (size === 0) throw refuse('it is an empty file', sizeHint);
  const loop = found === undefined ? undefined : await findLoopDevice(found.path);
  if (loop !== undefined) throw refuse(`it is attached to ${loop}`, `give ${loop} with -d, or run losetup -d ${loop}`);
  return {
    path: found?.path ?? path,
    links: [],
    major: 0,
    minor: 0,
    type: 'file',
    sizeBytes: size,
    sectorSizeBytes: sectorBytes,
    readOnly: false,
    removable: false,
    isExternal: false,
    mayOpen: true,
    rotational: undefined,
    transport: undefined,
    vendor: undefined,
    model: undefined,
    serial: undefined,
    wwn: undefined,
    signature: undefined,
    members: [],
    partitions: [],
    uses: [],
  };
}

/**
 * Opens a file as {@link describeImageFile} has described it. One that is smaller, or was not
 * there, gets the size; what is new reads as zeroes and takes no space.
 * @throws {DiskError} it cannot be made or written; one that was not there is not there then
 */
export async function openImageFile({ path, sizeBytes }: Disk): Promise<{ file: FileHandle; isNew: boolean }> {
  const isNew = !existsSync(path);
  try {
    const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o644);
    try {
      if ((await file.stat()).size < sizeBytes) await file.truncate(sizeBytes);
      return { file, isNew };
    } catch (cause) {
      await file.close();
      if (isNew) await rm(path);
      throw cause;
    }
  } catch (cause) {
    const hint = 'give a file that can be written to with -d';
    throw new DiskError({ what: 'install to', target: path, why: reasonOf(cause), hint, cause });
  }
}

/** @returns undefined if there is none */
async function statFile(path: string): Promise<{ readonly path: string; readonly sizeBytes: number } | undefined> {
  try {
    const real = await realpath(path);
    return { path: real, sizeBytes: (await stat(real)).size };
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT' && (await stat(dirname(path)).catch(() => undefined))?.isDirectory())
      return undefined;
    const hint = 'give a file in a directory that exists with -d';
    throw new DiskError({ what: 'install to', target: path, why: reasonOf(cause), hint, cause });
  }
}

/** The kernel shows the file of each loop device (Documentation/ABI/testing/sysfs-block-loop). */
async function findLoopDevice(path: string): Promise<string | undefined> {
  const directory = '/sys/block';
  const names = await readdir(directory).catch(() => []);
  for (const name of names.filter((one) => one.startsWith('loop'))) {
    const file = await readFile(join(directory, name, 'loop/backing_file'), 'utf8').catch(() => '');
    if (file.trimEnd() === path) return join('/dev', basename(name));
  }
  return undefined;
}
