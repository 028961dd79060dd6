import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { lockFile } from '../tools/file-lock.ts';
import { runTool } from '../tools/run-tool.ts';
import { aptReason } from './apt-failures.ts';
import type { Archive } from './archive.ts';
import { securityMirror } from './mirrors.ts';
import type { DebianArchitecture, Package, PackageSet } from './package.ts';

const asLongAsItTakes = { timeoutSeconds: Number.POSITIVE_INFINITY };

/** apt with the current package lists of an archive. No other process changes them until disposal. */
export interface AptRoot extends AsyncDisposable {
  /**
   * The packages of the set in the versions that apt would install now on an empty system, sorted by
   * name.
   * @throws {Error} apt does not know one of them
   */
  resolve(set: PackageSet): Promise<Package[]>;
}

/**
 * Updates the package lists of an apt of our own and returns it. Sources, pins and architecture are
 * not those of the machine; its proxy settings are used. Lists without a signature by a key of the
 * archive are refused, whatever the machine's apt accepts.
 * @param directory where the lists are kept
 * @throws {Error} no mirror has the lists of the release
 */
export async function updateAptRoot(
  directory: string,
  archive: Archive,
  architecture: DebianArchitecture,
  signal: AbortSignal = new AbortController().signal,
): Promise<AptRoot> {
  const at = (name: string): string => join(directory, name);
  for (const name of ['lists/partial', 'cache/archives/partial']) await mkdir(at(name), { recursive: true });
  await writeFile(at('status'), '', { flag: 'a' }); // nothing is installed
  const options = Object.entries({
    'Dir::Etc::sourcelist': at('sources.list'),
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::Etc::preferences': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    'Dir::State': directory,
    'Dir::State::lists': at('lists'),
    'Dir::State::status': at('status'),
    'Dir::Cache': at('cache'),
    // Debian's container images set these two to nothing: apt would read all lists at each call.
    'Dir::Cache::pkgcache': 'pkgcache.bin',
    'Dir::Cache::srcpkgcache': 'srcpkgcache.bin',
    'Acquire::GzipIndexes': 'false',
    'APT::Architecture': architecture,
    'APT::Architectures': architecture,
    'APT::Default-Release': '',
    'APT::Get::AllowUnauthenticated': 'false',
    'Acquire::AllowInsecureRepositories': 'false',
    'Acquire::AllowDowngradeToInsecureRepositories': 'false',
    'Acquire::AllowWeakRepositories': 'false',
    // apt's other user cannot write into this directory.
    'APT::Sandbox::User': 'root',
  }).map(([name, value]) => `--option=${name}=${value}`);
  await using stack = new AsyncDisposableStack();
  stack.use(await lockFile(at('lock'), { signal }));
  await updateFromOneMirror(archive, at('sources.list'), options, signal);
  const held = stack.move();
  return {
    [Symbol.asyncDispose]: () => held.disposeAsync(),
    resolve: (set) => ({ all: resolveAll, kernel: resolveKernel, none: resolveAlone })[set.dependencies](set),
  };

  async function resolveAlone(set: PackageSet): Promise<Package[]> {
    const stanzas = await showCandidates(set.packages.map((name) => inRelease(set, name, archive)));
    return describe(stanzas.map((stanza) => `${stanza['Package']}=${stanza['Version']}`));
  }

  async function resolveAll(set: PackageSet): Promise<Package[]> {
    const names = set.packages.map((name) => inRelease(set, name, archive));
    const { stdout } = await runTool(
      'apt-get',
      [...options, '--simulate', '--no-install-recommends', 'install', ...names],
      { ...asLongAsItTakes, signal },
    );
    // Inst kmod (34.2-2 Debian:13.2/stable [amd64])
    const installed = [...stdout.matchAll(/^Inst (\S+) \((\S+) /gm)]
      .filter(([, name = '']) => set.leftOut?.test(name) !== true)
      .map(([, name, version]) => `${name}=${version}`);
    return describe(installed);
  }

  async function resolveKernel(set: PackageSet): Promise<Package[]> {
    const found = new Set<string>();
    const metapackages = await showCandidates(set.packages.map((name) => inRelease(set, name, archive)));
    let needed = metapackages.flatMap(kernelParts);
    while (needed.length > 0) {
      for (const one of needed) found.add(one);
      needed = (await show(needed)).flatMap(kernelParts).filter((one) => !found.has(one));
    }
    if (found.size === 0)
      throw new Error(`${set.packages.join(', ')} of Debian ${archive.release} depends on no package of a kernel`);
    return describe([...found]);
  }

  /** @param versions as `name=version` */
  async function describe(versions: readonly string[]): Promise<Package[]> {
    const stanzas = await show(versions);
    return versions
      .map((version) => {
        const same = stanzas.filter((stanza) => `${stanza['Package']}=${stanza['Version']}` === version);
        // One version may be in the release and in its security updates; more mirrors have the former.
        const stanza = same.find((one) => !isSecurityUpdate(one['Filename'])) ?? same[0];
        if (stanza === undefined) throw new Error(`apt does not describe ${version}`);
        return toPackage(stanza);
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  function showCandidates(names: readonly string[]): Promise<Record<string, string>[]> {
    return show(['--no-all-versions', ...names]);
  }

  async function show(versions: readonly string[]): Promise<Record<string, string>[]> {
    const { stdout } = await runTool('apt-cache', [...options, 'show', ...versions], { ...asLongAsItTakes, signal });
    return stdout.split('\n\n').map((stanza) =>
      Object.fromEntries(
        stanza
          .split('\n')
          .map((line) => line.match(/^([\w-]+): (.*)$/))
          .flatMap((match) => (match === null ? [] : [[match[1] ?? '', match[2] ?? '']])),
      ),
    );
  }
}

async function updateFromOneMirror(
  archive: Archive,
  sourcesFile: string,
  options: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const errors: unknown[] = [];
  const reasons: string[] = [];
  for (const mirror of await archive.mirrors()) {
    await writeFile(sourcesFile, sourcesOf(archive, mirror));
    try {
      await runTool('apt-get', ['update', '--quiet=2', '--error-on=any', ...options], {
        ...asLongAsItTakes,
        signal,
        environment: { ...process.env, LC_ALL: 'C' }, // proxies
      });
      return;
    } catch (error) {
      signal.throwIfAborted();
      errors.push(error);
      reasons.push(`${mirror}: ${aptReason(error)}`);
    }
  }
  const tried = reasons.join('; ') || 'no mirror is known';
  throw new Error(`no package lists of Debian ${archive.release}: ${tried} (name a mirror with DEBIAN_MIRROR=URL)`, {
    cause: new AggregateError(errors),
  });
}

function sourcesOf({ release, suites, components, keyring }: Archive, mirror: string): string {
  const source = (url: string, suite: string): string =>
    `deb [signed-by=${keyring} target=Packages] ${url} ${suite} ${components.join(' ')}\n`;
  const besides = suites.map((suite) =>
    source(suite === 'security' ? securityMirror(mirror) : mirror, `${release}-${suite}`),
  );
  return [source(mirror, release), ...besides].join('');
}

/**
 * The parts of one version of a kernel that a package depends on, as `name=version`. Until 6.12 it
 * is one package, `linux-image-<version>`; later ones have the kernel and its modules apart.
 */
function kernelParts(stanza: Readonly<Record<string, string>>): string[] {
  const parts = stanza['Depends']?.matchAll(/\b(linux-(?:base|binary|image|modules)-\d\S*) \(= (\S+)\)/g) ?? [];
  return [...parts].map(([, name, version]) => `${name}=${version}`);
}

function inRelease(set: PackageSet, name: string, { release }: Archive): string {
  return set.backports === true ? `${name}/${release}-backports` : name;
}

/** Security updates are in an archive of their own, in which paths begin like this. */
export function isSecurityUpdate(path: string | undefined): boolean {
  return path?.startsWith('pool/updates/') === true;
}

function toPackage(stanza: Readonly<Record<string, string>>): Package {
  return {
    name: stanza['Package'] ?? '',
    version: stanza['Version'] ?? '',
    architecture: stanza['Architecture'] ?? '',
    sizeBytes: Number(stanza['Size']),
    sha256: stanza['SHA256'] ?? '',
    path: stanza['Filename'] ?? '',
    maintainer: stanza['Maintainer'] ?? '',
  };
}
