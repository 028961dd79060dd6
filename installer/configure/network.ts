import { cp, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from '../../tools/run-tool.ts';
import { codeOf } from '../disk/in-use.ts';
import type { TargetDisk } from '../disk/target-disk.ts';
import { ConfigurationError } from './errors.ts';
import { editPartition } from './partition.ts';

/** Directory of the network units of the running system. */
const runtimeUnits = '/run/systemd/network';

/**
 * Copies the network units of the running system to `etc/systemd/network` on the ROOT partition of
 * this disk: with directories, following links, keeping modes and times, without replacing existing
 * files.
 * @param source directory of the units. Default: `/run/systemd/network`
 * @returns the names in it
 * @throws {ConfigurationError} there are none, or they cannot be written; {DiskError} the disk has
 *   no ROOT partition
 */
export async function installNetworkUnits(
  disk: TargetDisk,
  source: string = runtimeUnits,
  signal?: AbortSignal,
): Promise<string[]> {
  const names = await listNetworkUnits(source);
  const copy = async (root: string) => {
    const target = join(root, 'etc/systemd/network');
    await mkdir(target, { recursive: true, mode: 0o755 });
    await cp(source, target, { recursive: true, dereference: true, force: false, preserveTimestamps: true });
    await runTool('sync', ['-f', target]);
  };
  await editPartition(disk, 'ROOT', copy, signal);
  return names;
}

/**
 * Names of the units to copy.
 * @throws {ConfigurationError} there are none
 */
export async function listNetworkUnits(source: string = runtimeUnits): Promise<string[]> {
  const refuse = (why: string, cause?: unknown) =>
    new ConfigurationError({ what: 'copy', target: source, why, hint: 'install without -n', cause });
  try {
    const names = await readdir(source);
    if (names.length > 0) return names.toSorted();
  } catch (error) {
    throw refuse(codeOf(error) === 'ENOENT' ? 'there is no such directory' : String(error), error);
  }
  throw refuse('it contains no network units');
}
