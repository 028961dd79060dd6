import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { execa } from 'execa';
import { z } from 'zod';
import { runTool } from '../tools/run-tool.ts';

/**
 * apt's binary caches of an empty system. apt checks whether they match its package lists. Without
 * them each call reads all lists again: the caches of the system contain the installed packages,
 * and Debian's container images have none.
 */
const aptCache = resolve(import.meta.dirname, '../build/cache/apt');

/** apt is slow where the network or the disk is. */
const asLongAsItTakes = { timeoutSeconds: Number.POSITIVE_INFINITY };

/** A package as apt describes it. */
export interface Package {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
}

/** A key of a list of packages: same packages, same key. */
export function fingerprint(packages: readonly Package[]): string {
  return hash(JSON.stringify(packages));
}

function hash(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

/** A result of apt-get, and the state of its lists. */
const CachedNames = z.object({ state: z.string(), names: z.array(z.string()) });

/**
 * The names of packages and of all their dependencies, as apt would install them on an empty
 * system. apt-get takes seconds to resolve them, so its result is cached until apt's package lists,
 * sources or pins change.
 * @throws {Error} apt does not know one of them
 */
export async function namesWithDependencies(
  names: readonly string[],
  signal: AbortSignal = new AbortController().signal,
): Promise<string[]> {
  const state = await stateOfApt(signal);
  const path = join(aptCache, `dependencies-${hash(JSON.stringify(names)).slice(0, 16)}.json`);
  const cached = await readCached(path);
  if (cached?.state === state) return cached.names;
  const resolved = { state, names: await resolveDependencies(names, signal) };
  const unfinished = `${path}.${process.pid}`;
  await writeFile(unfinished, JSON.stringify(resolved));
  await rename(unfinished, path);
  return resolved.names;
}

async function resolveDependencies(names: readonly string[], signal: AbortSignal): Promise<string[]> {
  const options = [...(await onEmptySystem()), '--simulate', '--no-install-recommends'];
  const { stdout } = await runTool('apt-get', [...options, 'install', ...names], { ...asLongAsItTakes, signal }).catch(
    unknownPackages,
  );
  return [...stdout.matchAll(/^Inst (\S+) /gm)].map((match) => match[1] ?? '');
}

/**
 * A key of everything that apt's results depend on: `policy` prints sources and pins, and rebuilds
 * the cache if a list has changed.
 */
async function stateOfApt(signal: AbortSignal): Promise<string> {
  const { stdout } = await runTool('apt-cache', [...(await onEmptySystem()), 'policy'], {
    ...asLongAsItTakes,
    signal,
  });
  const cache = await stat(join(aptCache, 'packages.bin'), { bigint: true });
  return hash(JSON.stringify([stdout, String(cache.ino), String(cache.mtimeNs), String(cache.size)]));
}

async function readCached(path: string): Promise<z.infer<typeof CachedNames> | undefined> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined; // not cached
    throw error;
  });
  return text === undefined ? undefined : CachedNames.safeParse(JSON.parse(text)).data;
}

/**
 * Finds the versions that apt would install now. The kernel's metapackage is replaced by the
 * package that it depends on.
 * @throws {Error} apt does not know one of them
 */
export async function resolvePackages(names: readonly string[]): Promise<Package[]> {
  const stanzas = await describe(names);
  const kernel = stanzas.find((stanza) => stanza['Package'] === 'linux-image-amd64');
  const kernelName = kernel?.['Depends']?.match(/linux-image-\S+/)?.[0];
  const all = kernelName === undefined ? stanzas : [...stanzas, ...(await describe([kernelName]))];
  return all
    .filter((stanza) => stanza !== kernel)
    .map((stanza) => ({
      name: stanza['Package'] ?? '',
      version: stanza['Version'] ?? '',
      sha256: stanza['SHA256'] ?? '',
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * Options of apt-get and apt-cache. Several processes may use the caches at the same time: apt
 * replaces them in one step.
 */
async function onEmptySystem(): Promise<string[]> {
  await mkdir(aptCache, { recursive: true });
  const nothingInstalled = join(aptCache, 'status');
  await writeFile(nothingInstalled, '', { flag: 'a' }); // keeps the modification time, so that the caches stay valid
  return [
    `--option=Dir::State::status=${nothingInstalled}`,
    `--option=Dir::Cache::pkgcache=${join(aptCache, 'packages.bin')}`,
    `--option=Dir::Cache::srcpkgcache=${join(aptCache, 'sources.bin')}`,
  ];
}

async function describe(names: readonly string[]): Promise<Record<string, string>[]> {
  const query = ['show', '--no-all-versions', ...names.map((name) => `${name}:amd64`)];
  const { stdout } = await runTool('apt-cache', [...(await onEmptySystem()), ...query], asLongAsItTakes).catch(
    unknownPackages,
  );
  const stanzas = stdout.split('\n\n').map((stanza) =>
    Object.fromEntries(
      stanza
        .split('\n')
        .map((line) => line.match(/^([\w-]+): (.*)$/))
        .flatMap((match) => (match === null ? [] : [[match[1] ?? '', match[2] ?? '']])),
    ),
  );
  const missing = names.filter((name) => !stanzas.some((stanza) => stanza['Package'] === name));
  if (missing.length > 0)
    throw new Error(`apt does not know ${missing.join(', ')} (run apt-get update; Debian 12 or 13 is needed)`);
  return stanzas;
}

function unknownPackages(cause: unknown): never {
  throw new Error('apt does not know all packages of the image (run apt-get update; Debian 12 or 13 is needed)', {
    cause,
  });
}

/**
 * Fetches packages with apt into `directory`; files already there are used. Nothing is installed.
 * @returns path of the file of each package
 */
export async function fetchPackages(
  packages: readonly Package[],
  directory: string,
  signal: AbortSignal = new AbortController().signal,
): Promise<Map<string, string>> {
  await mkdir(directory, { recursive: true });
  const present = new Set(await readdir(directory));
  const missing = packages.filter((one) => !present.has(`${one.sha256}.deb`));
  if (missing.length > 0) await download(missing, directory, signal);
  return new Map(packages.map((one) => [one.name, join(directory, `${one.sha256}.deb`)]));
}

async function download(packages: readonly Package[], directory: string, signal: AbortSignal): Promise<void> {
  const arriving = await mkdtemp(join(directory, 'arriving-'));
  try {
    const versions = packages.map((one) => `${one.name}:amd64=${one.version}`);
    // The sandbox user of apt cannot write into this directory.
    await runTool('apt-get', ['download', '--quiet=2', '--option=APT::Sandbox::User=root', ...versions], {
      ...asLongAsItTakes,
      signal,
      workingDirectory: arriving,
    });
    for (const name of await readdir(arriving)) {
      const path = join(arriving, name);
      const sha256 = hash(await readFile(path));
      if (!packages.some((one) => one.sha256 === sha256))
        throw new Error(`${name} has the checksum ${sha256}, which is that of no requested package`);
      await rename(path, join(directory, `${sha256}.deb`));
    }
  } finally {
    await rm(arriving, { recursive: true });
  }
}

/**
 * Unpacks packages into the empty `directory` without running their scripts. /bin, /sbin, /lib and
 * /lib64 are links: packages of Debian 12 have files there and in /usr, those of Debian 13 only in
 * /usr.
 * @param pathsLeftOut paths to leave out, as `./usr/share/doc`
 */
export async function unpackPackages(
  files: Iterable<string>,
  directory: string,
  pathsLeftOut: readonly string[] = [],
  signal: AbortSignal = new AbortController().signal,
): Promise<void> {
  await linkToUsr(directory);
  const exclusions = pathsLeftOut.map((path) => `--exclude=${path}`);
  for (const file of files) {
    await execa('dpkg-deb', ['--fsys-tarfile', file], { cancelSignal: signal, buffer: false }).pipe(
      'tar',
      ['--extract', '--directory', directory, '--keep-directory-symlink', '--same-owner', ...exclusions],
      { cancelSignal: signal },
    );
  }
}

/** Makes /bin, /sbin, /lib and /lib64 links to the directories of these names in /usr. */
export async function linkToUsr(directory: string): Promise<void> {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    await mkdir(join(directory, 'usr', name), { recursive: true });
    await symlink(`usr/${name}`, join(directory, name));
  }
}
