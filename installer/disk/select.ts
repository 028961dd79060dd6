import { stat } from 'node:fs/promises';
import type { Clock } from '../../clock/clock.ts';
import { DiskError } from './errors.ts';
import { readSignature, readWwn } from './identity.ts';
import { backingLoops, isClaimed } from './in-use.ts';
import { type Disk, type DiskUse, parseLsblk, runLsblk } from './lsblk.ts';

export type { Disk, DiskUse } from './lsblk.ts';

export interface SelectionOptions {
  /** A disk must be larger than this, not as large. Default: 10,000,000,000. */
  readonly minimumBytes?: number;
  /** Only devices with one of these major numbers. Naming a major also allows kinds of devices that are otherwise left out (7: loop). */
  readonly includeMajors?: readonly number[];
  /** No devices with one of these major numbers. */
  readonly excludeMajors?: readonly number[];
}

/** A disk that was looked at. `reason` completes the sentence "{path}: {reason}". */
export interface Candidate {
  readonly disk: Disk;
  readonly verdict: 'chosen' | 'larger' | 'unsuitable' | 'in use' | 'too small' | 'excluded';
  readonly reason: string;
}

export interface Selection {
  readonly chosen?: Disk;
  /** Every disk that was looked at, in the order in which they were preferred. */
  readonly candidates: readonly Candidate[];
}

/** More than this is what the original asks for. */
export const defaultMinimumBytes = 10_000_000_000;

/** No disk can be installed to; `message` ends with a table of what was seen and why not. */
export class NoDiskError extends DiskError {
  override readonly name: string = 'NoDiskError';
  readonly candidates: readonly Candidate[];

  constructor(candidates: readonly Candidate[], minimumBytes: number = defaultMinimumBytes) {
    // The sentence is the original's; people and scripts search for it.
    const sentence = `Could not find smallest disk to install (min. ${formatGigabytes(minimumBytes)}).`;
    super({ what: 'choose', target: 'a disk', why: sentence, hint: 'name one with -d' });
    this.message = `${sentence}\n${describeCandidates(candidates) || 'no block device was found'}`;
    this.candidates = candidates;
  }
}

/**
 * Lists every whole block device, ordered by path, with everything that speaks against overwriting it.
 * @throws ToolError when lsblk is missing or fails.
 */
export async function listDisks(clock: Clock, signal?: AbortSignal): Promise<Disk[]> {
  const disks = parseLsblk(await runLsblk(undefined, signal));
  return await Promise.all(disks.map((disk) => complete(disk, clock, signal)));
}

/**
 * One device, as `listDisks` would list it. @param path of the device itself, not of a link.
 * @returns undefined for a partition. @throws ToolError when lsblk is missing or fails.
 */
export async function inspectDevice(path: string, clock: Clock, signal?: AbortSignal): Promise<Disk | undefined> {
  // The report also has what is on top of the device.
  const json = await runLsblk(path, signal);
  const { rdev } = await stat(path);
  const disk = parseLsblk(json).find((entry) => isDevice(entry, rdev));
  return disk === undefined ? undefined : await complete(disk, clock, signal);
}

/**
 * The original's rule: of the unused disks larger than the minimum, the smallest; of equally large ones, the first by path.
 * Unlike the original it also passes over what cannot be booted from or must not be lost: see `verdictOn`.
 */
export function chooseSmallest(disks: readonly Disk[], options: SelectionOptions = {}): Selection {
  const preferred = disks.toSorted((a, b) => a.sizeBytes - b.sizeBytes || (a.path < b.path ? -1 : 1));
  const verdicts = preferred.map((disk) => ({ disk, ...verdictOn(disk, disks, options) }));
  const chosen = verdicts.find((entry) => entry.verdict === 'larger')?.disk;
  const candidates = verdicts.map((entry): Candidate => {
    if (entry.disk !== chosen) return entry;
    return { disk: entry.disk, verdict: 'chosen', reason: 'the smallest unused disk' };
  });
  return chosen === undefined ? { candidates } : { chosen, candidates };
}

/** A table of the candidates for people, one line each. Empty loop and RAM devices, which every system has many of, are left out. */
export function describeCandidates(candidates: readonly Candidate[]): string {
  const shown = candidates.filter(({ disk }) => disk.sizeBytes > 0 || disk.type === 'disk');
  const rows = shown.map(({ disk, verdict, reason }) => [
    disk.path,
    formatGigabytes(disk.sizeBytes),
    disk.type,
    [disk.transport, disk.model, disk.serial].filter((part) => part !== undefined).join(' ') || '-',
    verdict === 'chosen' ? `chosen: ${reason}` : `${verdict === 'larger' ? '' : 'not usable: '}${reason}`,
  ]);
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')).join('\n');
}

/** `disk` seen alone (and for several paths to one storage, beside the others). 'larger' stands for "could be chosen". */
function verdictOn(disk: Disk, all: readonly Disk[], options: SelectionOptions): Omit<Candidate, 'disk'> {
  const { includeMajors, excludeMajors, minimumBytes = defaultMinimumBytes } = options;
  if (includeMajors !== undefined && !includeMajors.includes(disk.major)) {
    return { verdict: 'excluded', reason: `its major number ${disk.major} is not among those of -I` };
  }
  if (excludeMajors?.includes(disk.major)) {
    return { verdict: 'excluded', reason: `its major number ${disk.major} is among those of -e` };
  }
  const unsuitable = unsuitability(disk, includeMajors?.includes(disk.major) ?? false);
  if (unsuitable !== undefined) return { verdict: 'unsuitable', reason: unsuitable };
  const use = disk.uses[0] ?? useOfOtherPath(disk, all);
  if (use !== undefined) return { verdict: 'in use', reason: describeUse(use, disk) };
  if (disk.sizeBytes <= minimumBytes) {
    return { verdict: 'too small', reason: `it is not larger than ${formatGigabytes(minimumBytes)}` };
  }
  return { verdict: 'larger', reason: 'usable, but not the smallest' };
}

function unsuitability(disk: Disk, namedByMajor: boolean): string | undefined {
  if (disk.sizeBytes === 0) return 'it has no medium or size';
  if (disk.readOnly) return 'it is read-only';
  if (disk.removable) return 'it is removable; name it with -d if that is meant';
  // RAM disks and zram are disks to lsblk.
  if (/^\/dev\/(z?ram|fd)\d+$/.test(disk.path)) return 'it is not a disk that can be booted from';
  if (disk.type === 'loop' || disk.type === 'lvm') {
    if (!namedByMajor) return `it is of type ${disk.type}; name it with -d, or its major number with -I ${disk.major}`;
  } else if (disk.type !== 'disk' && disk.type !== 'mpath') {
    return `it is of type ${disk.type}, not a full disk`;
  }
  if (disk.sectorSizeBytes !== 512) {
    return `it has sectors of ${disk.sectorSizeBytes} bytes and the image is made for sectors of 512`;
  }
  if (disk.signature?.endsWith('raid_member') || disk.signature === 'mpath_member') {
    return `it is part of an array or multipath device (${disk.signature}); name it with -d to overwrite it`;
  }
  return undefined;
}

/** Where multipath is not set up, each path is a disk of its own and only one of them shows that the storage is in use. */
function useOfOtherPath(disk: Disk, all: readonly Disk[]): DiskUse | undefined {
  if (disk.wwn === undefined) return undefined;
  return all.find((other) => other !== disk && other.wwn === disk.wwn && other.uses.length > 0)?.uses[0];
}

/** "it is mounted at /data", "its partition /dev/sda3 is used as swap", … */
export function describeUse(use: DiskUse, disk: { readonly path: string }): string {
  const subject = use.device === disk.path ? 'it' : use.device;
  switch (use.kind) {
    case 'mounted':
      return `${subject} is mounted at ${use.by}`;
    case 'swap':
      return `${subject} is used as swap`;
    case 'held':
      return `${subject} is held by ${use.by}`;
    case 'claimed':
      return `${subject} is in use by ${use.by}`;
  }
}

export function formatGigabytes(bytes: number): string {
  return `${Number((bytes / 1e9).toFixed(bytes < 1e9 ? 3 : 1))}GB`;
}

/** Linux' encoding of a device number in 64 bits: makedev(3). */
function isDevice(disk: Disk, rdev: number): boolean {
  const number = BigInt(rdev);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & ~0xfffn);
  const minor = (number & 0xffn) | ((number >> 12n) & ~0xffn);
  return BigInt(disk.major) === (major & 0xffffffffn) && BigInt(disk.minor) === (minor & 0xffffffffn);
}

/** Adds what lsblk does not know by itself. */
async function complete(disk: Disk, clock: Clock, signal: AbortSignal | undefined): Promise<Disk> {
  const uses = await allUses(disk, clock);
  // Not of devices that cannot be chosen without being named, and not of drives that would have to load a medium.
  if (disk.type !== 'disk' || disk.sizeBytes === 0 || disk.removable) return { ...disk, uses };
  const wwn = disk.wwn ?? (await readWwn(disk.path));
  const signature = disk.signature ?? (await readSignature(disk.path, signal).catch(() => undefined));
  signal?.throwIfAborted();
  return { ...disk, uses, wwn, signature };
}

async function allUses(disk: Disk, clock: Clock): Promise<DiskUse[]> {
  const uses = [...disk.uses, ...(await backingLoops(disk.path))];
  // Mounts of another mount namespace (we may run in a container) show only in that the device cannot be claimed. Not asked of loop
  // devices, which come and go by the dozen and whose owners would see our claim.
  const worthAsking = uses.length === 0 && disk.sizeBytes > 0 && !disk.readOnly && !disk.removable;
  // The devices of its own partitions claim a multipath device; whether anybody uses those shows when it is opened.
  if (disk.type === 'mpath' && disk.partitions.length > 0) return uses;
  if (worthAsking && (disk.type === 'disk' || disk.type === 'mpath') && (await isClaimed(disk.path, clock))) {
    uses.push({ kind: 'claimed', device: disk.path, by: 'something outside of what this process can see' });
  }
  return uses;
}
