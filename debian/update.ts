import { rename, writeFile } from 'node:fs/promises';
import { relative } from 'node:path';
import { type AptRoot, updateAptRoot } from './apt-root.ts';
import { type Archive, debianArchive } from './archive.ts';
import { architectures, type Locked, type LockFile, readLockFile } from './lock-file.ts';
import { type DebianArchitecture, type Package, type PackageSet, release } from './package.ts';
import { aptDirectory, describeReplaced, differences } from './select.ts';

export interface UpdateOptions {
  /** Where the packages come from. Default: Debian's archive. */
  readonly archive?: Archive;
  /** Directory for package lists. Default: `build/cache`. */
  readonly cache?: string;
}

/**
 * Writes a lock file with the current versions of all sets of each architecture.
 * @returns what has changed, one line for each package
 */
export async function updateLockFile(
  path: string,
  sets: Readonly<Partial<Record<DebianArchitecture, readonly PackageSet[]>>>,
  { archive = debianArchive, cache }: UpdateOptions = {},
): Promise<string[]> {
  const before = await readLockFile(path).catch(() => undefined); // one that is not usable is written anew
  const after: LockFile = { release, architectures: {} };
  for (const architecture of architectures) {
    const ofArchitecture = sets[architecture];
    if (ofArchitecture === undefined) continue;
    await using root = await updateAptRoot(aptDirectory(architecture, cache), archive, architecture);
    after.architectures[architecture] = await lock(root, ofArchitecture);
  }
  await writeFile(`${path}.unfinished`, `${JSON.stringify(after, undefined, 2)}\n`);
  await rename(`${path}.unfinished`, path);
  const name = relative(process.cwd(), path);
  if (before === undefined) return [`${name}: new`];
  const changes = architectures.flatMap((architecture) => {
    const [old, current] = [before, after].map((one) => one.architectures[architecture]?.packages ?? []);
    return differences(old ?? [], current ?? []).map((one) => `${name}: ${architecture}: ${describeReplaced(one)}`);
  });
  return changes.length > 0 ? changes : [`${name}: no change`];
}

async function lock(root: AptRoot, sets: readonly PackageSet[]): Promise<Locked> {
  const packages = new Map<string, Package>();
  const entries: Locked['sets'] = {};
  for (const set of sets) {
    const resolved = await root.resolve(set);
    entries[set.name] = { requested: [...set.packages], packages: resolved.map(({ name }) => name) };
    for (const one of resolved) {
      const same = packages.get(one.name);
      if (same !== undefined && same.version !== one.version)
        throw new Error(`two sets need ${one.name} in different versions, ${same.version} and ${one.version}`);
      packages.set(one.name, one);
    }
  }
  return { sets: entries, packages: [...packages.values()].sort((a, b) => (a.name < b.name ? -1 : 1)) };
}
