import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';

/** The Debian packages that files are taken from. The libraries are listed too: the build fails when one that is needed is not. */
export const packageNames = [
  'linux-image-amd64',
  'busybox-static',
  'kmod',
  'rdate',
  'ca-certificates',
  ...['docker.io', 'containerd', 'runc', 'pigz', 'zlib1g'],
  ...['libc6', 'libgcc-s1', 'libstdc++6'],
  ...['libsystemd0', 'libdevmapper1.02.1', 'libseccomp2', 'libselinux1', 'libudev1', 'libpcre2-8-0', 'libcap2'],
  ...['libgcrypt20', 'libgpg-error0', 'liblz4-1', 'liblzma5', 'libzstd1', 'libssl3', 'libbsd0', 'libmd0'],
] as const;

/** A package as apt describes it. */
export interface Package {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
}

/**
 * Finds the versions that apt would install now, following a package without files, as the kernel's, to the one it stands for.
 * @throws Error when apt does not know one of them.
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

async function describe(names: readonly string[]): Promise<Record<string, string>[]> {
  const { stdout } = await execa('apt-cache', ['show', '--no-all-versions', ...names.map((name) => `${name}:amd64`)], {
    env: { LC_ALL: 'C' },
  }).catch((cause: unknown) => {
    throw new Error('apt does not know all packages of the boot image (run apt-get update; Debian 12 is needed)', {
      cause,
    });
  });
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
    throw new Error(`apt does not know ${missing.join(', ')} (run apt-get update; Debian 12 is needed)`);
  return stanzas;
}

/** Fetches packages with apt into `directory`, where those already there stay; nothing is installed. Returns the path of each one's file. */
export async function fetchPackages(packages: readonly Package[], directory: string): Promise<Map<string, string>> {
  await mkdir(directory, { recursive: true });
  const present = new Set(await readdir(directory));
  const missing = packages.filter((one) => !present.has(`${one.sha256}.deb`));
  if (missing.length > 0) await download(missing, directory);
  return new Map(packages.map((one) => [one.name, join(directory, `${one.sha256}.deb`)]));
}

async function download(packages: readonly Package[], directory: string): Promise<void> {
  const arriving = await mkdtemp(join(directory, 'arriving-'));
  try {
    const versions = packages.map((one) => `${one.name}:amd64=${one.version}`);
    // Without its sandbox user apt need not be able to write into this directory.
    await execa('apt-get', ['download', '--quiet=2', '--option=APT::Sandbox::User=root', ...versions], {
      cwd: arriving,
    });
    for (const name of await readdir(arriving)) {
      const path = join(arriving, name);
      const sha256 = createHash('sha256')
        .update(await readFile(path))
        .digest('hex');
      if (!packages.some((one) => one.sha256 === sha256))
        throw new Error(`${name} is not what apt promised: ${sha256}`);
      await rename(path, join(directory, `${sha256}.deb`));
    }
  } finally {
    await rm(arriving, { recursive: true });
  }
}

/** Unpacks packages into one tree in `directory`, without running anything of theirs. */
export async function unpackPackages(files: Iterable<string>, directory: string): Promise<void> {
  for (const file of files) await execa('dpkg-deb', ['--extract', file, directory]);
}
