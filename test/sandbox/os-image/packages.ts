import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

/** A Debian package in one version. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
}

/**
 * The packages named and all they depend on, sorted by name, in the versions that this machine's apt would install on an
 * empty system.
 * @throws Error when apt knows no such package, as before the first `apt-get update`.
 */
export async function resolvePackages(names: readonly string[], signal: AbortSignal): Promise<DebianPackage[]> {
  const scratch = await mkdtemp(join(tmpdir(), 'nibs-apt-'));
  try {
    const nothingInstalled = join(scratch, 'status');
    await writeFile(nothingInstalled, '');
    const { stdout } = await execa(
      'apt-get',
      [
        ...['--simulate', '--no-install-recommends', '-o', `Dir::State::status=${nothingInstalled}`],
        ...['-o', `Dir::Cache::pkgcache=${join(scratch, 'pkgcache')}`, 'install', ...names],
      ],
      { cancelSignal: signal, env: { LC_ALL: 'C' } },
    );
    return stdout
      .matchAll(/^Inst (\S+) \((\S+) .*\[(\S+)\]\)/gm)
      .map(([, name = '', version = '', architecture = '']) => ({ name, version, architecture }))
      .toArray()
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    throw new Error('cannot find the Debian packages of the image (has `apt-get update` run?)', { cause: error });
  } finally {
    await rm(scratch, { recursive: true });
  }
}

/**
 * Fetches what is not there yet with apt, which verifies it.
 * @returns the paths of the package files, in the order of `packages`.
 */
export async function downloadPackages(
  packages: readonly DebianPackage[],
  directory: string,
  signal: AbortSignal,
): Promise<string[]> {
  await mkdir(directory, { recursive: true });
  const present = new Set(await readdir(directory));
  const missing = packages.filter((wanted) => !present.has(fileName(wanted)));
  if (missing.length > 0) {
    const incoming = join(directory, 'incoming'); // apt stopped midway leaves the beginning of a file under its final name
    await rm(incoming, { recursive: true, force: true });
    await mkdir(incoming);
    await execa(
      'apt-get',
      ['-o', 'APT::Sandbox::User=root', 'download', ...missing.map(({ name, version }) => `${name}=${version}`)],
      { cwd: incoming, cancelSignal: signal },
    ).catch((error: unknown) => {
      throw new Error(`cannot download ${missing.length} Debian packages (try \`apt-get update\`)`, { cause: error });
    });
    for (const wanted of missing) await rename(join(incoming, fileName(wanted)), join(directory, fileName(wanted)));
  }
  return packages.map((wanted) => join(directory, fileName(wanted)));
}

/** apt writes the colon of an epoch as %3a. */
function fileName({ name, version, architecture }: DebianPackage): string {
  return `${name}_${version.replaceAll(':', '%3a')}_${architecture}.deb`;
}

/** Unpacks the packages into `directory`, whose /bin, /sbin and /lib may be links; runs no maintainer script. */
export async function extractPackages(
  files: readonly string[],
  directory: string,
  pathsLeftOut: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const exclusions = pathsLeftOut.map((path) => `--exclude=${path}`);
  for (const file of files) {
    await execa('dpkg-deb', ['--fsys-tarfile', file], { cancelSignal: signal, buffer: false }).pipe(
      'tar',
      ['--extract', '--directory', directory, '--keep-directory-symlink', '--same-owner', ...exclusions],
      { cancelSignal: signal },
    );
  }
}

/** One short word for a set of package versions. */
export function fingerprint(packages: readonly DebianPackage[]): string {
  const lines = packages.map(({ name, version, architecture }) => `${name} ${version} ${architecture}\n`);
  return createHash('sha256').update(lines.join('')).digest('hex');
}
