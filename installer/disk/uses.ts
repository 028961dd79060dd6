import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type BlockDevice,
  type BlockDevices,
  deviceNumber,
  type KernelRoots,
  kernelRoots,
  readBlockDevices,
} from './block-devices.ts';
import { comparePaths, type DiskUse } from './lsblk.ts';

/** A mounted file system, as one process sees it. */
interface Mount {
  /** `major:minor` of the file system; major 0 with btrfs, ZFS and what has no device. */
  readonly number: string;
  /** What was mounted: /dev/sda1, or a name. */
  readonly source: string;
  readonly mountPoint: string;
  /** A process that sees it, if this one does not. */
  readonly processId: string | undefined;
}

/** Everything that the kernel shows of the use of block devices, at one moment. */
export interface UsageState {
  readonly devices: BlockDevices;
  /** Numbers of the devices that are mounted, with where. */
  readonly mounts: ReadonlyMap<string, readonly Mount[]>;
  /** Numbers of the devices that are swapped to. */
  readonly swaps: ReadonlySet<string>;
  /**
   * Loop devices by the number of the device that is attached. Those with a file need no look: its
   * file system is mounted.
   */
  readonly loops: ReadonlyMap<string, readonly BlockDevice[]>;
  /** Numbers of the devices of btrfs file systems, with the identifier of the file system. */
  readonly btrfs: ReadonlyMap<string, string>;
}

/**
 * Reads who uses which block devices: mounts in every mount namespace, swap, devices on top of
 * others, loop devices, btrfs. Of processes that this one may not see only the effects remain:
 * `isClaimed`.
 */
export async function readUsage(roots: KernelRoots = kernelRoots): Promise<UsageState> {
  const devices = await readBlockDevices(roots);
  const byPath = new Map([...devices.values()].map((device) => [device.path, device.number]));
  // A node may be missing in a container, or be made under another name.
  const numberOf = async (path: string) => (await deviceNumber(path)) ?? byPath.get(path);
  const btrfs = await readBtrfs(devices, roots);
  return {
    devices,
    btrfs,
    mounts: await readMounts(numberOf, btrfs, roots),
    swaps: await readSwaps(numberOf, roots),
    loops: await readLoops(devices, numberOf),
  };
}

/**
 * All uses of a device, of its partitions and of the devices on top of them. Mounts come first,
 * those of the device itself before those of its partitions.
 * @param number `major:minor` of the whole device
 */
export function findUses(state: UsageState, number: string): DiskUse[] {
  const whole = [...state.devices.values()].find((device) => device.number === number);
  if (whole === undefined) return [];
  const parts = [whole, ...partitionsOf(state.devices, whole)];
  const uses = { direct: [] as DiskUse[], held: [] as DiskUse[], above: [] as DiskUse[] };
  for (const part of parts) uses.direct.push(...directUses(state, part));
  const seen = new Set(parts.map(({ name }) => name));
  let layer = parts;
  while (layer.length > 0) {
    const next: BlockDevice[] = [];
    for (const lower of layer) {
      for (const { device, how } of onTopOf(state, lower)) {
        if (seen.has(device.name)) continue;
        seen.add(device.name);
        uses.held.push({ kind: 'held', device: lower.path, by: `${device.path} (${how})` });
        const upper = [device, ...partitionsOf(state.devices, device)];
        for (const { name } of upper) seen.add(name);
        for (const part of upper) uses.above.push(...directUses(state, part));
        next.push(...upper);
      }
    }
    layer = next;
  }
  return [...uses.direct, ...uses.held, ...uses.above];
}

/** Also the device-mapper devices that kpartx makes of a device-mapper device. */
export function partitionsOf(devices: BlockDevices, whole: BlockDevice): BlockDevice[] {
  const isMapped = whole.name.startsWith('dm-');
  const own = [...devices.values()].filter(
    ({ name, wholeDevice }) => wholeDevice === whole.name && (isMapped || !name.startsWith('dm-')),
  );
  return own.toSorted((a, b) => comparePaths(a.path, b.path));
}

function directUses(state: UsageState, { number, path, isInBcache, holders }: BlockDevice): DiskUse[] {
  // The shortest path first: / rather than a file that a container has mounted from it. Mounts that
  // this process does not see come last.
  const mounts = (state.mounts.get(number) ?? []).toSorted(
    (a, b) =>
      Number(a.processId !== undefined) - Number(b.processId !== undefined) ||
      a.mountPoint.length - b.mountPoint.length,
  );
  const uses: DiskUse[] = mounts.map(({ mountPoint, processId }) => ({
    kind: 'mounted',
    device: path,
    by: processId === undefined ? mountPoint : `${mountPoint} in the mount namespace of process ${processId}`,
  }));
  if (state.swaps.has(number)) uses.push({ kind: 'swap', device: path, by: 'swap' });
  const btrfs = state.btrfs.get(number);
  if (btrfs !== undefined && mounts.length === 0)
    uses.push({ kind: 'held', device: path, by: `the btrfs file system ${btrfs}` });
  if (isInBcache && holders.length === 0) uses.push({ kind: 'held', device: path, by: 'bcache' });
  return uses;
}

function onTopOf({ devices, loops }: UsageState, lower: BlockDevice): { device: BlockDevice; how: string }[] {
  const isMapped = lower.name.startsWith('dm-');
  const holders = lower.holders
    .flatMap((name) => devices.get(name) ?? [])
    .filter(({ wholeDevice }) => !isMapped || wholeDevice !== lower.name)
    .map((device) => ({ device, how: device.type }));
  const attached = (loops.get(lower.number) ?? []).map((device) => ({ device, how: device.type }));
  return [...holders, ...attached].toSorted((a, b) => comparePaths(a.device.path, b.device.path));
}

type NumberOf = (path: string) => Promise<string | undefined>;

async function readLoops(devices: BlockDevices, numberOf: NumberOf): Promise<Map<string, BlockDevice[]>> {
  const loops = new Map<string, BlockDevice[]>();
  for (const device of devices.values()) {
    // Also a node in the root of a container. Other paths are not looked at: they may lead to a
    // server that does not answer.
    const [path, node] = /^.*?(\/dev\/.+?)(?: \(deleted\))?$/.exec(device.backingFile ?? '') ?? [];
    if (path === undefined || node === undefined) continue;
    const number = (await numberOf(path)) ?? (await numberOf(node));
    if (number !== undefined) loops.set(number, [...(loops.get(number) ?? []), device]);
  }
  return loops;
}

/**
 * The mounts of this process, and those that only processes in other mount namespaces see. Source:
 * proc(5), mountinfo.
 */
async function readMounts(
  numberOf: NumberOf,
  btrfs: ReadonlyMap<string, string>,
  { proc }: KernelRoots,
): Promise<Map<string, Mount[]>> {
  const found = new Map<string, Mount[]>();
  const add = (number: string, mount: Mount) => {
    const others = found.get(number) ?? [];
    const isKnown = others.some(({ mountPoint, processId }) =>
      mount.processId === undefined
        ? processId === undefined && mountPoint === mount.mountPoint
        : mountPoint === mount.mountPoint || processId === undefined,
    );
    if (!isKnown) found.set(number, [...others, mount]);
  };
  for (const mount of await readAllMounts(proc)) {
    if (!mount.number.startsWith('0:')) {
      add(mount.number, mount);
      continue;
    }
    if (!mount.source.startsWith('/dev/')) continue;
    const number = await numberOf(mount.source);
    if (number === undefined) continue;
    // A btrfs may have several devices, of which only one is the source.
    const identifier = btrfs.get(number);
    const all = [...btrfs].filter(([, other]) => other === identifier).map(([other]) => other);
    for (const one of identifier === undefined ? [number] : all) add(one, mount);
  }
  return found;
}

async function readAllMounts(proc: string): Promise<Mount[]> {
  const mounts: Mount[] = [];
  const namespaces = new Set<string>();
  const processes = (await readdir(proc).catch(() => [])).filter((name) => /^\d+$/.test(name));
  for (const process of ['self', ...processes]) {
    const namespace = await readlink(join(proc, process, 'ns/mnt')).catch(() => undefined);
    if (namespace === undefined || namespaces.has(namespace)) continue;
    const text = await readFile(join(proc, process, 'mountinfo'), 'utf8').catch(() => undefined);
    if (text === undefined) continue;
    namespaces.add(namespace);
    for (const line of text.split('\n')) {
      const fields = line.split(' ');
      const [number, mountPoint] = [fields[2], fields[4]];
      // The fields from the separator on: type, source, options.
      const source = fields[fields.indexOf('-') + 2];
      if (number === undefined || mountPoint === undefined || source === undefined) continue;
      mounts.push({
        number,
        source: unescapeOctal(source),
        mountPoint: unescapeOctal(mountPoint),
        processId: process === 'self' ? undefined : process,
      });
    }
  }
  return mounts;
}

/** Source: proc(5), swaps. */
async function readSwaps(numberOf: NumberOf, { proc }: KernelRoots): Promise<Set<string>> {
  const swaps = new Set<string>();
  const text = await readFile(join(proc, 'swaps'), 'utf8').catch(() => '');
  for (const line of text.split('\n').slice(1)) {
    const [path = '', type] = line.split(/\s+/);
    if (path === '') continue;
    // The file system of a swap file is mounted.
    const number = type === 'file' ? undefined : await numberOf(unescapeOctal(path));
    if (number !== undefined) swaps.add(number);
  }
  return swaps;
}

/** Source: the kernel's Documentation/ABI/testing/sysfs-fs-btrfs. */
async function readBtrfs(devices: BlockDevices, { sysfs }: KernelRoots): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const directory = join(sysfs, 'fs/btrfs');
  for (const identifier of await readdir(directory).catch(() => [])) {
    for (const name of await readdir(join(directory, identifier, 'devices')).catch(() => [])) {
      const number = devices.get(name)?.number;
      if (number !== undefined) found.set(number, identifier);
    }
  }
  return found;
}

/** Spaces and the like are octal numbers there. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_escape, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
