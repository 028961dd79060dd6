import { cp, mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';

/**
 * Copies kernel modules and those they need from one `lib/modules/<release>` to another and indexes
 * the copy. Names that the kernel has built in are passed over.
 * @throws {Error} the kernel has no module of a name
 */
export async function copyModules(
  from: string,
  to: string,
  release: string,
  names: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const source = join(from, 'lib/modules', release);
  const target = join(to, 'usr/lib/modules', release);
  await execa('depmod', ['--basedir', from, release], { cancelSignal: signal });
  for (const path of await withDependencies(source, names)) {
    await mkdir(dirname(join(target, path)), { recursive: true });
    await cp(join(source, path), join(target, path));
  }
  for (const index of ['modules.builtin', 'modules.builtin.modinfo', 'modules.order']) {
    await cp(join(source, index), join(target, index));
  }
  await execa('depmod', ['--basedir', to, release], { cancelSignal: signal });
  await Promise.all(
    // What only the binary form of the index is made from, or is not needed here.
    ['modules.builtin.modinfo', 'modules.order', 'modules.devname'].map((file) =>
      rm(join(target, file), { force: true }),
    ),
  );
}

/**
 * Paths of module files relative to `directory`, by depmod's `modules.dep`: "path: path path …".
 */
async function withDependencies(directory: string, names: readonly string[]): Promise<Set<string>> {
  const needs = new Map<string, string[]>();
  const pathOf = new Map<string, string>();
  for (const line of (await readFile(join(directory, 'modules.dep'), 'utf8')).split('\n')) {
    const [path, dependencies] = line.split(':');
    if (path === undefined || dependencies === undefined) continue;
    needs.set(path, dependencies.split(' ').filter(Boolean));
    pathOf.set(moduleName(path), path);
  }
  const builtIn = new Set((await readFile(join(directory, 'modules.builtin'), 'utf8')).split('\n').map(moduleName));
  const paths = new Set<string>();
  for (const name of names) {
    const path = pathOf.get(name);
    if (path === undefined && !builtIn.has(name)) throw new Error(`the kernel in ${directory} has no module ${name}`);
    if (path !== undefined) for (const file of [path, ...(needs.get(path) ?? [])]) paths.add(file);
  }
  return paths;
}

/** `kernel/fs/nls/nls_cp437.ko` → `nls_cp437`; the kernel takes - and _ as equal. */
function moduleName(path: string): string {
  return (path.split('/').at(-1) ?? '').replace(/\.ko(\.\w+)?$/, '').replaceAll('-', '_');
}
