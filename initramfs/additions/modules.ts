import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { OperationError } from '../../errors/operation-error.ts';
import { reasonOf } from '../../errors/reason.ts';
import { selectFirmware } from '../firmware.ts';
import { indexModules, moduleList, selectModules, stageModules } from '../modules.ts';
import type { DebianSystem } from '../system.ts';
import type { Tree } from '../tree.ts';
import { filesDirectory } from './root-files.ts';

/**
 * Adds kernel modules with what they depend on, their firmware, and an index that has them beside
 * those of the image: nothing is indexed when the machine starts.
 * @param given names (`nbd`) or paths (`drivers/infiniband`) of Debian's modules, or files (`*.ko`)
 *   that were made for this kernel
 * @param scratch an empty directory on the file system of the packages
 * @returns the modules that are added, as paths below lib/modules/<version>
 * @throws {OperationError} the kernel has no such module, or a file is for another kernel
 */
export async function addModules(
  tree: Tree,
  given: readonly string[],
  system: DebianSystem,
  scratch: string,
): Promise<string[]> {
  const { kernelVersion: version, packages, tools } = system;
  const from = join(packages, 'lib/modules', version);
  const files = given.filter((one) => /\.ko$/.test(one));
  for (const path of files) await checkModule(path, system);
  const present = new Set(await selectModules(from, moduleList(system.architecture)));
  const wanted = await findModules(
    given.filter((one) => !files.includes(one)),
    from,
  );
  const added = wanted.filter((path) => !present.has(path));
  const staged = await stageModules(from, [...present, ...added], scratch, version, tools);
  if (files.length > 0) await mkdir(join(staged, 'updates'));
  for (const path of files) await copyFile(path, join(staged, 'updates', basename(path)));
  if (files.length > 0) await indexModules(scratch, version, tools);

  const target = join(filesDirectory, 'lib/modules', version);
  const own = [
    ...added.map((path) => path.replace(/\.ko\.xz$/, '.ko')),
    ...files.map((path) => `updates/${basename(path)}`),
  ];
  for (const path of own) tree.file(join(target, path), await readFile(join(staged, path)));
  for (const name of (await readdir(staged)).filter((one) => /^modules\./.test(one)))
    tree.file(join(target, name), await readFile(join(staged, name)));
  await addFirmware(
    tree,
    own.map((path) => join(staged, path)),
    system,
  );
  return own;
}

/** Names of modules have no slash; `-` and `_` are the same in them. */
async function findModules(given: readonly string[], from: string): Promise<string[]> {
  const lines = (await readFile(join(from, 'modules.dep'), 'utf8')).split('\n');
  const paths = lines.map((line) => line.replace(/:.*/, ''));
  const nameOf = (path: string) =>
    basename(path)
      .replace(/\.ko(\.xz)?$/, '')
      .replaceAll('-', '_');
  const entries = given.map((one) => {
    const path = one.includes('/') ? undefined : paths.find((path) => nameOf(path) === one.replaceAll('-', '_'));
    return path === undefined ? one : path.replace(/^kernel\//, '').replace(/\.ko(\.xz)?$/, '');
  });
  try {
    return await selectModules(from, entries);
  } catch (cause) {
    const target = `the modules ${given.join(', ')}`;
    const why = reasonOf(cause).replace(/ \(initramfs.*/, '');
    throw new OperationError({ what: 'add', target, why, hint: 'give MODULES= names as lsmod shows them', cause });
  }
}

/** A module of another kernel or architecture cannot be loaded. */
async function checkModule(path: string, { kernelVersion, tools }: DebianSystem): Promise<void> {
  const refused = (why: string, cause?: unknown) =>
    new OperationError({ what: 'add', target: path, why, hint: `give modules for ${kernelVersion}`, cause });
  if (!existsSync(path)) throw refused('there is no such file');
  const { stdout } = await tools.run('modinfo', ['--field=vermagic', path]).catch((cause: unknown) => {
    throw refused(`it is no kernel module: ${reasonOf(cause)}`, cause);
  });
  const [version = 'none'] = stdout.trim().split(' ');
  if (version !== kernelVersion) throw refused(`it is for the kernel ${version}`);
}

/** All that the drivers name, and that a package of the image has. */
async function addFirmware(tree: Tree, modules: readonly string[], system: DebianSystem): Promise<void> {
  const { packages, tools } = system;
  const { files } = await selectFirmware('all', { modules, packages, names: [], tools });
  for (const [name, path] of files) {
    if (!system.firmware.files.has(name)) tree.file(`${filesDirectory}/lib/firmware/${name}`, await readFile(path));
  }
}
