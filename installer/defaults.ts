import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { reasonOf } from '../errors/reason.ts';
import { InstallError } from './errors.ts';

/**
 * What to install without options: on a machine that runs Flatcar the same release, else the newest
 * stable one.
 */
export interface ReleaseDefaults {
  readonly board: string;
  readonly channel: string;
  readonly version: string;
  /** Empty for the image without an OEM. */
  readonly oem: string;
}

/**
 * Reads the defaults of this machine in the order of the original. Unlike the original's, they do
 * not depend on variables of the environment (`VERSION_ID`, `GROUP`, …).
 * @param root directory that stands for `/`
 * @throws {InstallError} a file exists and cannot be read
 */
export async function readDefaults(root: string, architecture: string = process.arch): Promise<ReleaseDefaults> {
  const read = (path: string) => readVariables(join(root, path));
  const release = await read('usr/share/flatcar/release');
  const board = release['FLATCAR_RELEASE_BOARD'] ?? (architecture === 'arm64' ? 'arm64-usr' : 'amd64-usr');

  const osRelease = await read('etc/os-release');
  const isFlatcar = osRelease['ID'] === 'flatcar';
  const updates = isFlatcar
    ? { ...(await read('usr/share/flatcar/update.conf')), ...(await read('etc/flatcar/update.conf')) }
    : {};
  const version = (isFlatcar && osRelease['VERSION_ID']) || 'current';
  const channel = updates['GROUP'] || 'stable';

  const oems = [await read('oem/oem-release'), await read('usr/share/oem/oem-release'), await read('etc/oem-release')];
  const oem = oems.findLast((file) => file['ID'] !== undefined)?.['ID'] ?? '';
  // A QEMU image runs only in QEMU: a machine that runs one installs the generic image.
  return { board, channel, version, oem: ['qemu', 'qemu_uefi'].includes(oem) ? '' : oem };
}

/** Variables of a file in os-release(5) format; none when there is no such file. */
async function readVariables(path: string): Promise<Record<string, string | undefined>> {
  try {
    return parseEnv(await readFile(path, 'utf8'));
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR')) return {};
    throw new InstallError({ what: 'read', target: path, why: reasonOf(cause), cause });
  }
}
