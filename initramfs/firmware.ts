import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { BuildTools } from './build-tools.ts';
import type { FirmwareChoice } from './package-sets.ts';

/** Firmware files of the image. */
export interface Firmware {
  /** Path below lib/firmware → the file in the unpacked packages. */
  readonly files: ReadonlyMap<string, string>;
  /** Names that the drivers of the choice ask for and no package has, sorted. */
  readonly missing: readonly string[];
  /** Package → its licences (debian/copyright). */
  readonly licences: ReadonlyMap<string, string>;
}

/** What firmware is selected from. */
export interface FirmwareSources {
  /** Paths of the image's kernel modules. */
  readonly modules: readonly string[];
  /** Directory of the unpacked packages. */
  readonly packages: string;
  /** Names of the packages with firmware. */
  readonly names: readonly string[];
  readonly tools: BuildTools;
}

/** Where Debian's packages have firmware. */
const directory = 'usr/lib/firmware';

/**
 * The drivers whose firmware `servers` takes: network cards and host bus adapters of servers, and
 * cards on USB. The others in the image are for old or rare cards and would add more than these
 * have together: `nfp` alone needs 25 MiB.
 */
export const serverDrivers: readonly string[] = [
  ...['bnx2', 'bnx2x', 'tg3', 'bna', 'cxgb3', 'cxgb4', 'ice', 'qed', 'mscc', 'r8169', 'r8152'],
  ...['bfa', 'csiostor', 'isci', 'qla2xxx'],
];

/**
 * Selects the firmware that drivers name (MODULE_FIRMWARE in the kernel). Of a file in several
 * versions the newest is taken: drivers ask for it first.
 */
export async function selectFirmware(
  choice: FirmwareChoice,
  { modules, packages, names: packageNames, tools }: FirmwareSources,
): Promise<Firmware> {
  const files = new Map<string, string>();
  const missing = new Set<string>();
  const drivers = modules.filter((path) => choice === 'all' || serverDrivers.includes(moduleName(path)));
  if (choice === 'none' || drivers.length === 0) return { files, missing: [], licences: new Map() };
  for (const names of (await firmwareOf(drivers, tools)).values()) {
    const present = names.filter((name) => existsSync(join(packages, directory, name)));
    for (const name of newest(present)) files.set(name, join(packages, directory, name));
    for (const name of newest(names))
      if (!present.some((one) => withoutVersion(one) === withoutVersion(name))) missing.add(name);
  }
  const licences = await readLicences(packages, packageNames);
  return { files: new Map([...files].sort(byName)), missing: [...missing].sort(), licences };
}

async function readLicences(packages: string, names: readonly string[]): Promise<Map<string, string>> {
  const read = async (name: string) =>
    [name, await readFile(join(packages, 'usr/share/doc', name, 'copyright'), 'utf8')] as const;
  return new Map(await Promise.all(names.map(read)));
}

/** Module → names of firmware. */
async function firmwareOf(modules: readonly string[], tools: BuildTools): Promise<Map<string, string[]>> {
  const { stdout } = await tools.run('modinfo', [...modules]);
  const found = new Map<string, string[]>();
  let current: string[] = [];
  // filename:       /path/tg3.ko
  // firmware:       tigon/tg3.bin
  for (const line of stdout.split('\n')) {
    const [, field, value = ''] = line.match(/^(filename|firmware): +(.+)$/) ?? [];
    if (field === 'firmware') current.push(value);
    if (field !== 'filename') continue;
    current = [];
    found.set(value, current);
  }
  return found;
}

/** Of names that differ only in a version (`bnx2x-e1-7.13.21.0.fw`) the one with the highest. */
function newest(names: readonly string[]): string[] {
  const byNumbers = new Intl.Collator('en', { numeric: true });
  const kept = new Map<string, string>();
  for (const name of [...names].sort(byNumbers.compare)) kept.set(withoutVersion(name), name);
  return [...kept.values()];
}

function withoutVersion(name: string): string {
  return name.replace(/\d+(\.\d+)+(?=\.[a-z]+$)/, '');
}

function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.xz)?$/, '')
    .replaceAll('-', '_');
}

function byName([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : 1;
}
