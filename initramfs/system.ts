import { access, mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { indexModules } from './modules.ts';
import {
  fetchPackages,
  fingerprint,
  namesWithDependencies,
  type Package,
  resolvePackages,
  unpackPackages,
} from './packages.ts';

/** The Debian packages of the programs in the boot image. Their dependencies have the libraries. */
const programPackages = [
  ...['busybox-static', 'kmod', 'rdate', 'ca-certificates', 'kbd', 'kexec-tools'],
  ...['docker.io', 'containerd', 'runc', 'pigz'],
  'libgcc-s1', // for the executable
];

/** Taken without its dependencies, which are programs that build an initramfs. */
const kernelPackage = 'linux-image-amd64';

/** What the boot image takes from Debian. */
export interface DebianSystem {
  /** The packages with their versions. */
  readonly list: readonly Package[];
  /** Directory of the unpacked packages; their kernel modules are indexed. */
  readonly packages: string;
  /** The kernel's version, as in lib/modules/<version>. */
  readonly kernelVersion: string;
  /**
   * The time of all files in the image, in seconds since 1970: SOURCE_DATE_EPOCH, or the time of
   * the kernel. Not the time of the build.
   */
  readonly timeSeconds: number;
}

/**
 * Fetches and unpacks the packages into `cache`, unless they are there.
 * @throws {Error} apt does not know a package or cannot fetch it
 */
export async function fetchSystem(cache: string): Promise<DebianSystem> {
  await mkdir(cache, { recursive: true });
  const list = await resolvePackages([kernelPackage, ...(await namesWithDependencies(programPackages))]);
  const packages = join(cache, `system-${fingerprint(list).slice(0, 16)}`);
  if (!(await exists(packages))) await unpack(list, packages, cache);
  const version = await kernelVersion(packages);
  return {
    list,
    packages,
    kernelVersion: version,
    timeSeconds: await buildTime(join(packages, 'boot', `vmlinuz-${version}`)),
  };
}

async function unpack(list: readonly Package[], directory: string, cache: string): Promise<void> {
  const files = await fetchPackages(list, join(cache, 'packages'));
  const unfinished = await mkdtemp(`${directory}-`);
  try {
    await unpackPackages(files.values(), unfinished);
    await indexModules(unfinished, await kernelVersion(unfinished));
    await rename(unfinished, directory);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    if (!(await exists(directory))) throw error; // else another build has finished first, with the same result
  }
}

async function kernelVersion(directory: string): Promise<string> {
  const versions = await readdir(join(directory, 'lib/modules'));
  if (versions.length !== 1) {
    throw new Error(`expected one kernel in ${directory}, found ${versions.join(', ') || 'none'}`);
  }
  return String(versions[0]);
}

async function buildTime(kernel: string): Promise<number> {
  const given = process.env['SOURCE_DATE_EPOCH'];
  if (given !== undefined) return Number.parseInt(given, 10);
  return Math.floor((await stat(kernel)).mtimeMs / 1000);
}

/** Whether the file or directory exists. */
export async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
