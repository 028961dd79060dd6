import { mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Architecture, hostArchitecture } from '../debian/architecture.ts';
import type { Package } from '../debian/package.ts';
import { fingerprint, type Replaced, selectPackages } from '../debian/select.ts';
import { unpackOnce } from '../debian/unpack.ts';
import { type BuildTools, fetchBuildTools } from './build-tools.ts';
import { type Firmware, selectFirmware } from './firmware.ts';
import { findKernelImage } from './kernel-image.ts';
import { indexModules, moduleList, selectModules } from './modules.ts';
import {
  bootPackages,
  type Engine,
  enginePackages,
  type FirmwareChoice,
  firmwarePackages,
  type Kernel,
  kernelPackages,
  productLock,
} from './package-sets.ts';

/** What the boot image takes from Debian. */
export interface DebianSystem {
  readonly architecture: Architecture;
  /** The packages with their versions. */
  readonly list: readonly Package[];
  /** Those that differ from the lock file, because no mirror has the locked version. */
  readonly replaced: readonly Replaced[];
  /** Directory of the unpacked packages; their kernel modules are indexed. */
  readonly packages: string;
  /** What its files are made with. */
  readonly tools: BuildTools;
  /** The kernel's version, as in lib/modules/<version>. */
  readonly kernelVersion: string;
  /** Path of the kernel. */
  readonly kernelImage: string;
  /** Firmware for its modules. */
  readonly firmware: Firmware;
  readonly engine: Engine;
  /**
   * The time of all files in the image, in seconds since 1970: SOURCE_DATE_EPOCH, or the time of
   * the kernel. Not the time of the build.
   */
  readonly timeSeconds: number;
}

/** Which system to fetch. */
export interface SystemOptions {
  /** Default: that of this machine. */
  readonly architecture?: Architecture;
  /** Default: stable. */
  readonly kernel?: Kernel;
  /** Default: servers. */
  readonly firmware?: FirmwareChoice;
  /** Default: podman. */
  readonly engine?: Engine;
}

/** The engine of a boot image without options. */
export const defaultEngine: Engine = 'podman';

/**
 * Fetches and unpacks the packages into `cache`, unless they are there.
 * @throws {Error} no mirror has a package
 */
export async function fetchSystem(
  cache: string,
  {
    architecture = hostArchitecture,
    kernel = 'stable',
    firmware = 'servers',
    engine = defaultEngine,
  }: SystemOptions = {},
): Promise<DebianSystem> {
  await mkdir(cache, { recursive: true });
  const options = { lockFile: productLock, architecture: architecture.debian };
  const selections = [
    await selectPackages(kernelPackages(architecture.debian, kernel), options),
    await selectPackages(bootPackages, options),
    await selectPackages(enginePackages(engine), options),
    ...(firmware === 'none' ? [] : [await selectPackages(firmwarePackages, options)]),
  ];
  // Two sets may need the same library.
  const list = [...new Map(selections.flatMap((one) => one.packages).map((one) => [one.name, one])).values()];
  const tools = await fetchBuildTools(cache);
  const packages = join(cache, `system-${fingerprint(list).slice(0, 16)}`);
  const files = new Set(selections.flatMap((one) => [...one.files.values()]));
  await unpackOnce(files, packages, async (unfinished) =>
    indexModules(unfinished, await kernelVersion(unfinished), tools),
  );
  const version = await kernelVersion(packages);
  const kernelImage = findKernelImage(packages, version);
  const directory = join(packages, 'lib/modules', version);
  const modules = (await selectModules(directory, moduleList(architecture))).map((path) => join(directory, path));
  const names = selections.flatMap(({ files }) => [...files.keys()]).filter((name) => name.startsWith('firmware-'));
  return {
    architecture,
    list,
    replaced: selections.flatMap((one) => one.replaced),
    packages,
    tools,
    kernelVersion: version,
    kernelImage,
    engine,
    firmware: await selectFirmware(firmware, { modules, packages, names, tools }),
    timeSeconds: await buildTime(kernelImage),
  };
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
