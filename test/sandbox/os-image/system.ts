import { chmod, chown, cp, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { unpackPackages } from '../../../debian/unpack.ts';
import { copyModules } from './modules.ts';
import { kernelModules, osVersion, pathsLeftOut, unitsStarted } from './recipe.ts';

/** The unpacked system. `root` contains all of it, /usr included. */
export interface System {
  readonly root: string;
  /** The kernel's image. */
  readonly kernel: string;
  /** The kernel's release, as `uname -r` says it. */
  readonly release: string;
}

/**
 * Makes the system's tree in `directory` from package files, by the packages' names, and our own
 * `files/root`. No maintainer script runs: what they would do and this system needs is done here.
 */
export async function makeSystem(
  packageFiles: ReadonlyMap<string, string>,
  ownFiles: string,
  directory: string,
  signal: AbortSignal,
): Promise<System> {
  const root = join(directory, 'system');
  const kernelTree = join(directory, 'kernel');
  await mkdir(join(root, 'usr/bin'), { recursive: true });
  await symlink('dash', join(root, 'usr/bin/sh')); // made by a maintainer script
  await mkdir(kernelTree, { recursive: true });
  const { kernel = [], rest = [] } = Object.groupBy(packageFiles, ([name]) =>
    name.startsWith('linux-image-') ? 'kernel' : 'rest',
  );
  await unpackPackages(new Map(kernel).values(), kernelTree, ['./usr/share'], signal);
  await unpackPackages(new Map(rest).values(), root, pathsLeftOut, signal);

  const [release] = await readdir(join(kernelTree, 'lib/modules'));
  if (release === undefined) throw new Error('the kernel package has no /lib/modules');
  await copyModules(kernelTree, root, release, kernelModules, signal);

  await cp(ownFiles, root, { recursive: true, verbatimSymlinks: true });
  await writeIdentity(root);
  await chooseUnits(root);
  await makeDirectories(root);
  await restrictFiles(root);
  await execa('ldconfig', ['-r', root], { cancelSignal: signal });
  return { root, release, kernel: join(kernelTree, `boot/vmlinuz-${release}`) };
}

async function writeIdentity(root: string): Promise<void> {
  const fields = {
    NAME: 'nibs sandbox OS',
    ID: 'nibs-sandbox',
    ID_LIKE: 'debian',
    VERSION: osVersion,
    VERSION_ID: osVersion,
    PRETTY_NAME: `nibs sandbox OS ${osVersion}`,
  };
  const lines = Object.entries(fields).map(([name, value]) => `${name}="${value}"\n`);
  await rm(join(root, 'etc/os-release'), { force: true });
  await writeFile(join(root, 'usr/lib/os-release'), lines.join(''));
  await symlink('../usr/lib/os-release', join(root, 'etc/os-release'));
  await symlink('/proc/self/mounts', join(root, 'etc/mtab'));
}

/**
 * Reduces what systemd starts to {@link unitsStarted}, and runs no generator: nothing here is
 * generated.
 */
async function chooseUnits(root: string): Promise<void> {
  const units = join(root, 'usr/lib/systemd/system');
  for (const [wants, names] of Object.entries(unitsStarted)) {
    await rm(join(units, wants), { recursive: true, force: true });
    await mkdir(join(units, wants));
    for (const name of names) await symlink(`../${name}`, join(units, wants, name));
  }
  await rm(join(units, 'default.target'));
  await symlink('multi-user.target', join(units, 'default.target'));
  await rm(join(root, 'usr/lib/systemd/system-generators'), { recursive: true });
}

async function makeDirectories(root: string): Promise<void> {
  for (const name of [
    'boot',
    'dev',
    'oem',
    'proc',
    'run',
    'sys',
    'tmp',
    'root',
    'home/core',
    'var/log',
    'var/tmp',
    'var/lib',
  ]) {
    await mkdir(join(root, name), { recursive: true });
  }
  await chown(join(root, 'home/core'), 500, 500);
  await rm(join(root, 'var/run'), { recursive: true, force: true });
  await symlink('/run', join(root, 'var/run'));
}

/** Modes that Git does not keep. */
async function restrictFiles(root: string): Promise<void> {
  const modes = { tmp: 0o1777, 'var/tmp': 0o1777, root: 0o700, 'home/core': 0o700, 'etc/shadow': 0o600 };
  for (const [path, mode] of Object.entries(modes)) await chmod(join(root, path), mode);
  await chmod(join(root, 'etc/sudoers.d/nibs'), 0o440);
}
