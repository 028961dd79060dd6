import { existsSync } from 'node:fs';
import { open, readdir, readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { aptReason } from '../../debian/apt-failures.ts';
import { updateAptRoot } from '../../debian/apt-root.ts';
import type { Architecture } from '../../debian/architecture.ts';
import { type Archive, debianArchive } from '../../debian/archive.ts';
import { describeMissing, fetchPackages } from '../../debian/fetch.ts';
import type { Package } from '../../debian/package.ts';
import { aptDirectory, fingerprint, packageDirectory, selectPackages } from '../../debian/select.ts';
import { unpackOnce } from '../../debian/unpack.ts';
import { OperationError } from '../../errors/operation-error.ts';
import { reasonOf } from '../../errors/reason.ts';
import { ToolError } from '../../tools/run-tool.ts';
import { librariesOfImage } from '../layers.ts';
import { findLibraries } from '../libraries.ts';
import { productLock, sshPackages } from '../package-sets.ts';
import type { DebianSystem } from '../system.ts';
import type { Tree } from '../tree.ts';
import { addRootFiles, filesDirectory, pathInImage } from './root-files.ts';

/** Packages that are fetched. */
interface FetchedPackages {
  readonly packages: readonly Package[];
  /** Package files by the names of the packages. */
  readonly files: ReadonlyMap<string, string>;
}

/** What nothing in the machine reads. Licences stay. */
const leftOut =
  /^usr\/share\/((man|info|locale|lintian|bug|bash-completion|zsh|fish|doc-base)$|doc\/[^/]+\/(?!copyright$))/;

type SystemWithPackages = Pick<DebianSystem, 'architecture' | 'list' | 'packages' | 'engine'>;

/** Of {@link addPackages}. */
export interface PackageOptions {
  readonly system: SystemWithPackages;
  /** Directory for package files, lists and unpacked packages. */
  readonly cache: string;
  /** Default: Debian's archive. */
  readonly archive?: Archive;
}

/**
 * Adds Debian packages in their current versions, with what they depend on. Of a dependency that
 * the image has in part, only the libraries are added that the programs need. Scripts of packages
 * do not run.
 * @returns the packages that are added
 * @throws {OperationError} Debian has no package of this name, or no mirror can be reached
 */
export async function addPackages(
  tree: Tree,
  names: readonly string[],
  { system, cache, archive = debianArchive }: PackageOptions,
): Promise<readonly Package[]> {
  const fetched = await fetchCurrent(names, system, cache, archive);
  return await addFetched(tree, names, fetched, system, cache);
}

/** Adds the SSH server in the version of the lock file. */
export async function addSshServer(tree: Tree, { system, cache }: PackageOptions): Promise<readonly Package[]> {
  const options = { lockFile: productLock, architecture: system.architecture.debian };
  return await addFetched(tree, sshPackages.packages, await selectPackages(sshPackages, options), system, cache);
}

async function fetchCurrent(
  names: readonly string[],
  { architecture }: SystemWithPackages,
  cache: string,
  archive: Archive,
): Promise<FetchedPackages> {
  const failed = (why: string, cause: unknown) =>
    new OperationError({
      ...{ what: 'add', target: `the packages ${names.join(', ')}`, why, cause },
      hint: 'give PACKAGES= names of Debian packages',
    });
  await using root = await updateAptRoot(aptDirectory(architecture.debian, cache), archive, architecture.debian);
  const packages = await root
    .resolve({ name: 'site', packages: names, dependencies: 'all' })
    .catch((cause: unknown) => {
      throw failed(cause instanceof ToolError ? aptReason(cause) : reasonOf(cause), cause);
    });
  const { files, missing, errors } = await fetchPackages(packages, packageDirectory(cache), archive);
  if (missing.length > 0)
    throw failed(`no mirror has ${missing.map(describeMissing).join(', ')}`, new AggregateError(errors));
  return { packages, files };
}

async function addFetched(
  tree: Tree,
  names: readonly string[],
  { packages, files }: FetchedPackages,
  system: SystemWithPackages,
  cache: string,
): Promise<readonly Package[]> {
  const inImage = new Set(system.list.map((one) => one.name));
  const whole = packages.filter(({ name }) => names.includes(name) || !inImage.has(name));
  const unpacked = join(cache, `site-${fingerprint(packages).slice(0, 16)}`);
  await unpackOnce(files.values(), unpacked);
  const own = join(cache, `site-${fingerprint(whole).slice(0, 16)}-whole`);
  await unpackOnce(
    whole.flatMap(({ name }) => files.get(name) ?? []),
    own,
  );
  // The links to the directories in /usr are those of the unpacked packages, not of the image.
  await addRootFiles(tree, own, (path) => leftOut.test(path) || /^(s?bin|lib(64)?)$/.test(path));
  const present = new Set((await librariesOfImage(system)).map(pathInImage));
  for (const path of await findLibraries(await programsIn(own, system.architecture), unpacked)) {
    const target = posix.join(filesDirectory, pathInImage(path));
    if (present.has(pathInImage(path)) || tree.has(target)) continue;
    tree.file(target, await readFile(join(unpacked, path)), 0o755);
  }
  return whole;
}

/** Programs and libraries: what the loader reads. */
async function programsIn(unpacked: string, { gnu }: Architecture): Promise<string[]> {
  const found: string[] = [];
  for (const directory of ['usr/bin', 'usr/sbin', `usr/lib/${gnu}`].map((path) => join(unpacked, path))) {
    for (const entry of existsSync(directory) ? await readdir(directory, { withFileTypes: true }) : []) {
      const path = join(directory, entry.name);
      if (entry.isFile() && (await isElf(path))) found.push(path);
    }
  }
  return found;
}

async function isElf(path: string): Promise<boolean> {
  await using file = await open(path);
  const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0);
  return buffer.toString('latin1') === '\x7fELF';
}
