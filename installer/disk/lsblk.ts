import { z } from 'zod';
import { runTool, ToolError } from '../../tools/run-tool.ts';

/** A use of a disk because of which it must not be overwritten. */
export interface DiskUse {
  readonly kind: 'mounted' | 'swap' | 'held' | 'claimed';
  /** The disk itself, one of its partitions, or a device on top of it. */
  readonly device: string;
  /** Mount point, holder, or a description if the system does not show it. */
  readonly by: string;
}

/** A whole block device: everything in the list of lsblk but partitions. */
export interface Disk {
  readonly path: string;
  readonly major: number;
  readonly minor: number;
  /** As lsblk names it: disk, mpath, loop, lvm, rom, raid1, crypt, … */
  readonly type: string;
  readonly sizeBytes: number;
  /** Logical sector size. */
  readonly sectorSizeBytes: number;
  readonly readOnly: boolean;
  /** A USB stick or a card reader, not merely a disk in a hot-plug bay. */
  readonly removable: boolean;
  /** sata, nvme, usb, virtio, … */
  readonly transport: string | undefined;
  readonly model: string | undefined;
  readonly serial: string | undefined;
  /** Two disks with the same WWN are two paths to the same storage. */
  readonly wwn: string | undefined;
  /** Signature of the whole device, if known: linux_raid_member, mpath_member, ext4, … */
  readonly signature: string | undefined;
  readonly partitions: readonly string[];
  readonly uses: readonly DiskUse[];
}

// Without NAME, lsblk prints a flat list instead of a tree.
const columns = 'NAME,PATH,MAJ:MIN,TYPE,SIZE,LOG-SEC,RO,RM,TRAN,MODEL,SERIAL,WWN,FSTYPE'.split(',');

// Older versions of util-linux print numbers and booleans as strings.
const size = z.coerce.number().int().nonnegative();
const boolean = z.union([z.boolean(), z.stringFormat('boolean', /^[01]$/).transform((text) => text === '1')]);
const string = z
  .string()
  .nullish()
  .transform((value) => value?.trim() || undefined);

const nodeSchema = z.object({
  path: z.string(),
  'maj:min': z
    .string()
    .trim()
    .regex(/^\d+:\d+$/),
  type: z.string(),
  size: size.nullable().transform((bytes) => bytes ?? 0),
  'log-sec': size,
  ro: boolean,
  rm: boolean,
  tran: string,
  model: string,
  serial: string,
  wwn: string,
  fstype: string,
  mountpoints: z.array(z.string().nullable()).optional(),
  mountpoint: z.string().nullish(),
  get children() {
    return z.array(nodeSchema).optional();
  },
});

type Node = z.infer<typeof nodeSchema>;

const reportSchema = z.object({ blockdevices: z.array(nodeSchema) });

/**
 * Runs lsblk on one device or on all and returns its JSON.
 * @throws {ToolError} lsblk is missing or fails
 */
export async function runLsblk(path: string | undefined, signal: AbortSignal | undefined): Promise<string> {
  const run = async (mountColumn: string) => {
    const args = ['--json', '--bytes', '--all', '--output', [...columns, mountColumn].join(',')];
    return (await runTool('lsblk', path === undefined ? args : [...args, path], { signal })).stdout;
  };
  try {
    return await run('MOUNTPOINTS');
  } catch (error) {
    // util-linux before 2.37 has only a column for one of the mount points.
    if (error instanceof ToolError && error.stderr.includes('unknown column')) return await run('MOUNTPOINT');
    throw error;
  }
}

/**
 * Parses `lsblk --json --bytes` into all whole devices, including those on top of other devices,
 * each once, ordered by path.
 * @throws {ZodError} it is not a report of lsblk
 */
export function parseLsblk(json: string): Disk[] {
  const report = json.trim() === '' ? { blockdevices: [] } : reportSchema.parse(JSON.parse(json));
  const disks = new Map<string, Disk>();
  const collect = (node: Node) => {
    if (node.type !== 'part') disks.set(node.path, toDisk(node));
    for (const child of node.children ?? []) collect(child);
  };
  for (const node of report.blockdevices) collect(node);
  return [...disks.values()].sort((a, b) => comparePaths(a.path, b.path));
}

/** Byte order, as the original: nvme0n1 < sda < sdaa < sdb < vda. */
export function comparePaths(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function toDisk(node: Node): Disk {
  const [major, minor] = node['maj:min'].split(':').map(Number);
  return {
    path: node.path,
    major: major ?? 0,
    minor: minor ?? 0,
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
    partitions: (node.children ?? []).filter((child) => child.type === 'part').map((child) => child.path),
    uses: usesOf(node, node),
  };
}

/**
 * Mounts and swap on the device and on devices on top of it, and those devices, but for partitions.
 */
function usesOf(node: Node, whole: Node): DiskUse[] {
  const held = node !== whole && node.type !== 'part';
  const uses: DiskUse[] = held ? [{ kind: 'held', device: whole.path, by: `${node.path} (${node.type})` }] : [];
  const mountpoints = (node.mountpoints ?? [node.mountpoint ?? null]).filter((place) => place !== null);
  // The shortest path first: / rather than a file that a container has mounted from it.
  for (const mountpoint of mountpoints.toSorted((a, b) => a.length - b.length)) {
    const swap = mountpoint === '[SWAP]';
    uses.push({ kind: swap ? 'swap' : 'mounted', device: node.path, by: swap ? 'swap' : mountpoint });
  }
  return [...uses, ...(node.children ?? []).flatMap((child) => usesOf(child, whole))];
}
