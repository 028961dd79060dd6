import { createHash } from 'node:crypto';
import { basename, join, resolve } from 'node:path';
import { reasonOf } from '../errors/reason.ts';
import { updateAptRoot } from './apt-root.ts';
import { type Archive, debianArchive } from './archive.ts';
import { describeMissing, fetchPackages } from './fetch.ts';
import { readLockFile } from './lock-file.ts';
import type { DebianArchitecture, Package, PackageSet } from './package.ts';

/** A package that differs from the lock file. `undefined`: it is not there. */
export interface Replaced {
  readonly name: string;
  readonly locked: string | undefined;
  readonly used: string | undefined;
}

/** The packages of a set, fetched. */
export interface Selection {
  readonly packages: readonly Package[];
  /** Package files by the names of the packages. */
  readonly files: ReadonlyMap<string, string>;
  /** Empty if all are as locked. */
  readonly replaced: readonly Replaced[];
}

export interface SelectionOptions {
  /** Path of the lock file. */
  readonly lockFile: string;
  readonly architecture: DebianArchitecture;
  readonly signal?: AbortSignal;
  /** Where the packages come from. Default: Debian's archive. */
  readonly archive?: Archive;
  /** Directory for package files and package lists. Default: `build/cache`. */
  readonly cache?: string;
  /** Called once when locked versions are gone. Default: a warning on standard error. */
  readonly onReplaced?: (message: string) => void;
}

const buildCache = resolve(import.meta.dirname, '../build/cache');

/** Where package files are kept in a cache, by their checksums. */
export function packageDirectory(cache = buildCache): string {
  return join(cache, 'packages');
}

/** Where the lists of apt are kept in a cache. */
export function aptDirectory(architecture: DebianArchitecture, cache = buildCache): string {
  return join(cache, `apt-root-${architecture}`);
}

/**
 * Fetches the packages of a set in the versions of the lock file. If a version is on no mirror any
 * more, the whole set is taken in its current versions, because versions depend on each other.
 * @throws {Error} the lock file does not have the set, no mirror can be reached, or what they have is
 *   not what the lock file or the signed package lists name
 */
export async function selectPackages(set: PackageSet, options: SelectionOptions): Promise<Selection> {
  const { lockFile, architecture, archive = debianArchive, cache, signal, onReplaced = warn } = options;
  const locked = await lockedPackages(set, lockFile, architecture);
  const fetched = await fetchPackages(locked, packageDirectory(cache), archive, signal);
  if (fetched.missing.length === 0) return { packages: locked, files: fetched.files, replaced: [] };

  const gone = fetched.missing.map(describeMissing).join(', ');
  await using root = await updateAptRoot(aptDirectory(architecture, cache), archive, architecture, signal).catch(
    (error: unknown) => {
      const cause = new AggregateError([error, ...fetched.errors]);
      throw new Error(`no mirror has the locked ${gone}, and ${reasonOf(error)}`, { cause });
    },
  );
  const packages = await root.resolve(set);
  const current = await fetchPackages(packages, packageDirectory(cache), archive, signal);
  if (current.missing.length > 0) {
    const names = current.missing.map(describeMissing).join(', ');
    throw new Error(`no mirror of Debian has ${names}`, { cause: new AggregateError(current.errors) });
  }
  const replaced = differences(locked, packages);
  onReplaced(
    `warning: no mirror has the locked ${gone}. Current versions are used instead of those of ${basename(lockFile)}: ` +
      `${replaced.map(describeReplaced).join(', ')} (make update updates the file)`,
  );
  return { packages, files: current.files, replaced };
}

/**
 * The packages of a set as locked, without fetching them.
 * @throws {Error} the lock file does not have the set
 */
async function lockedPackages(set: PackageSet, path: string, architecture: DebianArchitecture): Promise<Package[]> {
  const locked = (await readLockFile(path))?.architectures[architecture];
  const entry = locked?.sets[set.name];
  if (locked === undefined || entry === undefined || entry.requested.join() !== set.packages.join())
    throw new Error(`${path} does not have the packages of ${set.name} for ${architecture} (run make update)`);
  const names = new Set(entry.packages);
  return locked.packages.filter((one) => names.has(one.name));
}

/** What changes from one list of packages to another. */
export function differences(before: readonly Package[], after: readonly Package[]): Replaced[] {
  const versions = (packages: readonly Package[]) => new Map(packages.map((one) => [one.name, one.version]));
  const [locked, used] = [versions(before), versions(after)];
  return [...new Set([...locked.keys(), ...used.keys()])]
    .sort()
    .map((name) => ({ name, locked: locked.get(name), used: used.get(name) }))
    .filter((one) => one.locked !== one.used);
}

/** `kmod 34.2-1 → 34.2-2` */
export function describeReplaced({ name, locked, used }: Replaced): string {
  return `${name} ${locked ?? 'not there'} → ${used ?? 'not there'}`;
}

/** A key of a list of packages: same packages, same key. */
export function fingerprint(packages: readonly Package[]): string {
  const contents = packages.map(({ name, sha256 }) => [name, sha256]);
  return createHash('sha256').update(JSON.stringify(contents)).digest('hex');
}

function warn(message: string): void {
  process.stderr.write(`${message}\n`);
}
