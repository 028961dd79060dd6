import { z } from 'zod';
import { runTool, ToolError } from '../../tools/run-tool.ts';
import type { Member } from './members.ts';

/** A use of a disk because of which it must not be overwritten. */
export interface DiskUse {
  readonly kind: 'mounted' | 'swap' | 'held' | 'claimed';
  /** The disk itself, one of its partitions, or a device on top of it. */
  readonly device: string;
  /** Mount point, holder, or a description if the system does not show it. */
  readonly by: string;
}

/** A whole block device: everything but partitions. */
export interface Disk {
  readonly path: string;
  /** Links below /dev/disk that lead to it. */
  readonly links: readonly string[];
  readonly major: number;
  readonly minor: number;
  /** As lsblk names it: disk, mpath, loop, lvm, rom, raid1, crypt, … */
  readonly type: string;
  readonly sizeBytes: number;
  /** Logical sector size. */
  readonly sectorSizeBytes: number;
  readonly readOnly: boolean;
  /** Its medium can be changed. Of USB sticks and cards only some are. */
  readonly removable: boolean;
  /** On a port to which devices are attached from outside, such as Thunderbolt. */
  readonly isExternal: boolean;
  /** False: this process may not open it. */
  readonly mayOpen: boolean;
  /**
   * Why its contents cannot be read. Then it is not known what it belongs to. Undefined if they
   * can, or were not looked at.
   */
  readonly unreadable?: string | undefined;
  /** Undefined if the system does not say. */
  readonly rotational: boolean | undefined;
  /** sata, nvme, usb, virtio, … */
  readonly transport: string | undefined;
  readonly vendor: string | undefined;
  readonly model: string | undefined;
  readonly serial: string | undefined;
  /** Two disks with the same WWN are two paths to the same storage. */
  readonly wwn: string | undefined;
  /** Signature of the whole device, if known: linux_raid_member, mpath_member, ext4, … */
  readonly signature: string | undefined;
  /** What shows that it, or a partition of it, belongs to an array, a pool or a cluster. */
  readonly members: readonly Member[];
  readonly partitions: readonly string[];
  readonly uses: readonly DiskUse[];
}

/** What lsblk says about a whole device. Any of it may be missing: it depends on the version. */
export interface DescribedDevice {
  readonly path: string;
  /** `major:minor`. */
  readonly number: string;
  readonly type: string | undefined;
  readonly sizeBytes: number | undefined;
  readonly sectorSizeBytes: number | undefined;
  readonly readOnly: boolean | undefined;
  readonly removable: boolean | undefined;
  readonly transport: string | undefined;
  readonly model: string | undefined;
  readonly serial: string | undefined;
  readonly wwn: string | undefined;
  readonly signature: string | undefined;
  readonly partitions: readonly string[];
  readonly uses: readonly DiskUse[];
}

// Without NAME, lsblk prints a flat list instead of a tree.
const columns = 'NAME,PATH,MAJ:MIN,TYPE,SIZE,LOG-SEC,RO,RM,TRAN,MODEL,SERIAL,WWN,FSTYPE,MOUNTPOINTS,MOUNTPOINT'.split(
  ',',
);

// Older versions of util-linux print numbers and booleans as strings, and null for some devices.
const size = z.coerce.number().int().positive().optional().catch(undefined);
const boolean = z
  .union([z.boolean(), z.stringFormat('boolean', /^[01]$/).transform((text) => text === '1')])
  .optional()
  .catch(undefined);
const string = z
  .string()
  .transform((value) => value.trim() || undefined)
  .optional()
  .catch(undefined);

const nodeSchema = z.object({
  name: string,
  path: string,
  'maj:min': z
    .string()
    .trim()
    .regex(/^\d+:\d+$/),
  type: string,
  size,
  'log-sec': size,
  ro: boolean,
  rm: boolean,
  tran: string,
  model: string,
  serial: string,
  wwn: string,
  fstype: string,
  mountpoints: z.array(z.string().nullable()).optional().catch(undefined),
  mountpoint: z.string().nullish().catch(undefined),
  children: z.array(z.unknown()).catch([]),
});

interface Node extends Omit<z.infer<typeof nodeSchema>, 'children' | 'path'> {
  readonly path: string;
  readonly children: readonly Node[];
}

const reportSchema = z.object({ blockdevices: z.array(z.unknown()).catch([]) });

/**
 * What lsblk knows of one device and those on top of it, or of all. It adds to sysfs what udev
 * knows; without a usable lsblk there is nothing to add.
 */
export async function describeDevices(
  path: string | undefined,
  signal: AbortSignal | undefined,
): Promise<DescribedDevice[]> {
  try {
    return parseLsblk(await runLsblk(path, signal));
  } catch {
    signal?.throwIfAborted();
    return [];
  }
}

/**
 * Runs lsblk on one device or on all and returns its JSON. Columns that this version does not have
 * are left out.
 * @throws {ToolError} lsblk is missing or fails
 */
async function runLsblk(path: string | undefined, signal: AbortSignal | undefined): Promise<string> {
  let wanted = columns;
  for (;;) {
    const args = ['--json', '--bytes', '--all', '--output', wanted.join(',')];
    try {
      return (await runTool('lsblk', path === undefined ? args : [...args, path], { signal, timeoutSeconds: 60 }))
        .stdout;
    } catch (error) {
      // It names the first unknown one, with those after it.
      const [, unknown] = (error instanceof ToolError && /unknown column: ([\w:-]+)/.exec(error.stderr)) || [];
      const rest = wanted.filter((name) => name !== unknown);
      if (rest.length === wanted.length) throw error;
      wanted = rest;
    }
  }
}

/**
 * Parses `lsblk --json --bytes` into all whole devices, including those on top of other devices,
 * each once, ordered by path. A device whose entry is odd is left out; the others are not affected.
 * @throws {Error} it is not a report of lsblk
 */
export function parseLsblk(json: string): DescribedDevice[] {
  const report = json.trim() === '' ? { blockdevices: [] } : reportSchema.parse(JSON.parse(withoutControls(json)));
  const devices = new Map<string, DescribedDevice>();
  const collect = (node: Node) => {
    if (node.type !== 'part') devices.set(node.path, toDevice(node));
    for (const child of node.children) collect(child);
  };
  for (const node of report.blockdevices.flatMap(toNode)) collect(node);
  return [...devices.values()].sort((a, b) => comparePaths(a.path, b.path));
}

/** Names of models contain anything; some versions write it as it is, others as `\x01`. */
function withoutControls(json: string): string {
  return json.replaceAll(/\p{Cc}/gu, ' ').replaceAll(/(?<!\\)((?:\\\\)*)\\x[0-9a-f]{2}/gi, '$1 ');
}

function toNode(value: unknown): Node[] {
  const { data } = nodeSchema.safeParse(value);
  if (data === undefined) return [];
  const children = data.children.flatMap(toNode);
  // util-linux before 2.33 has no column for the path.
  const path = data.path ?? (data.name === undefined ? undefined : `/dev/${data.name}`);
  return path === undefined ? children : [{ ...data, path, children }];
}

/** Byte order, as the original: nvme0n1 < sda < sdaa < sdb < vda. */
export function comparePaths(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function toDevice(node: Node): DescribedDevice {
  return {
    path: node.path,
    number: node['maj:min'],
    type: node.type,
    sizeBytes: node.size,
    sectorSizeBytes: node['log-sec'],
    readOnly: node.ro,
    removable: node.rm,
    transport: node.tran,
    model: node.model,
    serial: node.serial,
    wwn: node.wwn,
    signature: node.fstype,
    partitions: node.children.filter((child) => child.type === 'part').map((child) => child.path),
    uses: usesOf(node, node, []),
  };
}

/**
 * Adds mounts and swap on the device and on devices on top of it, and those devices, but for
 * partitions.
 */
function usesOf(node: Node, whole: Node, uses: DiskUse[]): DiskUse[] {
  const held = node !== whole && node.type !== 'part';
  if (held) uses.push({ kind: 'held', device: whole.path, by: `${node.path} (${node.type ?? 'unknown'})` });
  const mountpoints = (node.mountpoints ?? [node.mountpoint ?? null]).filter((place) => place !== null);
  // The shortest path first: / rather than a file that a container has mounted from it.
  for (const mountpoint of mountpoints.toSorted((a, b) => a.length - b.length)) {
    const swap = mountpoint === '[SWAP]';
    uses.push({ kind: swap ? 'swap' : 'mounted', device: node.path, by: swap ? 'swap' : mountpoint });
  }
  for (const child of node.children) usesOf(child, whole, uses);
  return uses;
}
