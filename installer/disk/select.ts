import { stat } from 'node:fs/promises';
import type { Clock } from '../../clock/clock.ts';
import { printable } from '../../text/printable.ts';
import { DiskError } from './errors.ts';
import { readSignature, readWwn } from './identity.ts';
import { backingLoops, isClaimed } from './in-use.ts';
import { type Disk, type DiskUse, parseLsblk, runLsblk } from './lsblk.ts';

export type { Disk, DiskUse } from './lsblk.ts';

export interface SelectionOptions {
  /** A disk must be larger than this. Default: 10,000,000,000. */
  readonly minBytes?: number;
  /**
   * Only devices with one of these major numbers. A number given here also allows types that are
   * otherwise skipped (7: loop).
   */
  readonly includeMajors?: readonly number[];
  /** No devices with one of these major numbers. */
  readonly excludeMajors?: readonly number[];
}

/** An examined disk. `reason` completes the sentence "{path}: {reason}". */
export interface Candidate {
  readonly disk: Disk;
  readonly verdict: 'chosen' | 'larger' | 'unsuitable' | 'in use' | 'too small' | 'excluded';
  readonly reason: string;
}

export interface Selection {
  readonly chosen?: Disk;
  /** All examined disks in order of preference. */
  readonly candidates: readonly Candidate[];
}

/** Minimum of the original; the disk must be larger. */
export const defaultMinBytes = 10_000_000_000;

/** No disk can be installed to; `message` ends with a table of the disks and the reasons. */
export class NoDiskError extends DiskError {
  override readonly name: string = 'NoDiskError';
  readonly candidates: readonly Candidate[];

  constructor(candidates: readonly Candidate[], minBytes: number = defaultMinBytes) {
    // The sentence of the original. Scripts search for it.
    const sentence = `Could not find smallest disk to install (min. ${formatGigabytes(minBytes)}).`;
    super({ what: 'choose', target: 'a disk', why: sentence, hint: 'select one with -d' });
    this.message = `${sentence}\n${describeCandidates(candidates) || 'no block device was found'}`;
    this.candidates = candidates;
  }
}

/**
 * Lists all whole block devices, ordered by path, with their uses.
 * @throws {ToolError} lsblk is missing or fails
 */
export async function listDisks(clock: Clock, signal?: AbortSignal): Promise<Disk[]> {
  const disks = parseLsblk(await runLsblk(undefined, signal));
  return await Promise.all(disks.map((disk) => complete(disk, clock, signal)));
}

/**
 * One device, as in the list of `listDisks`.
 * @param path of the device itself, not of a link
 * @returns undefined for a partition
 * @throws {ToolError} lsblk is missing or fails
 */
export async function inspectDevice(path: string, clock: Clock, signal?: AbortSignal): Promise<Disk | undefined> {
  // The report also contains the devices on top of it.
  const json = await runLsblk(path, signal);
  const { rdev } = await stat(path);
  const disk = parseLsblk(json).find((entry) => isDevice(entry, rdev));
  return disk === undefined ? undefined : await complete(disk, clock, signal);
}

/**
 * The rule of the original: the smallest of the unused disks larger than the minimum; of several,
 * the first by path. Unlike the original it also skips disks that cannot be booted from or must not
 * be overwritten: see `verdictOn`.
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

/** A table of the candidates for people, one line each. Empty loop and RAM devices are left out. */
export function describeCandidates(candidates: readonly Candidate[]): string {
  const shown = candidates.filter(({ disk }) => disk.sizeBytes > 0 || disk.type === 'disk');
  const rows = shown.map(({ disk, verdict, reason }) => [
    disk.path,
    formatGigabytes(disk.sizeBytes),
    disk.type,
    printable([disk.transport, disk.model, disk.serial].filter((part) => part !== undefined).join(' ')) || '-',
    verdict === 'chosen' ? `chosen: ${reason}` : `${verdict === 'larger' ? '' : 'not usable: '}${reason}`,
  ]);
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')).join('\n');
}

/**
 * Judges one disk; the others matter only as further paths to the same storage. 'larger': it could
 * be chosen.
 */
function verdictOn(disk: Disk, all: readonly Disk[], options: SelectionOptions): Omit<Candidate, 'disk'> {
  const { includeMajors, excludeMajors, minBytes = defaultMinBytes } = options;
  if (includeMajors !== undefined && !includeMajors.includes(disk.major)) {
    return { verdict: 'excluded', reason: `its major number ${disk.major} is not in the list of -I` };
  }
  if (excludeMajors?.includes(disk.major)) {
    return { verdict: 'excluded', reason: `its major number ${disk.major} is in the list of -e` };
  }
  const unsuitable = unsuitability(disk, includeMajors?.includes(disk.major) ?? false);
  if (unsuitable !== undefined) return { verdict: 'unsuitable', reason: unsuitable };
  const use = disk.uses[0] ?? useOfOtherPath(disk, all);
  if (use !== undefined) return { verdict: 'in use', reason: describeUse(use, disk) };
  if (disk.sizeBytes <= minBytes) {
    return { verdict: 'too small', reason: `it is not larger than ${formatGigabytes(minBytes)}` };
  }
  return { verdict: 'larger', reason: 'usable, but not the smallest' };
}

function unsuitability(disk: Disk, namedByMajor: boolean): string | undefined {
  if (disk.sizeBytes === 0) return 'it has no medium or size';
  if (disk.readOnly) return 'it is read-only';
  if (disk.removable) return 'it is removable (select it with -d)';
  // RAM disks and zram are disks to lsblk.
  if (/^\/dev\/(z?ram|fd)\d+$/.test(disk.path)) return 'it is a RAM disk or floppy, which cannot be booted from';
  if (disk.type === 'loop' || disk.type === 'lvm') {
    if (!namedByMajor)
      return `it is of type ${disk.type} (select it with -d, or its major number with -I ${disk.major})`;
  } else if (disk.type !== 'disk' && disk.type !== 'mpath') {
    return `it is of type ${disk.type}, not a full disk`;
  }
  if (disk.sectorSizeBytes !== 512) {
    return `its sectors have ${disk.sectorSizeBytes} bytes, but the image needs sectors of 512`;
  }
  if (disk.signature?.endsWith('raid_member') || disk.signature === 'mpath_member') {
    return `it is part of an array or multipath device (${disk.signature}); select it with -d to overwrite it`;
  }
  return undefined;
}

/** Without multipath each path is a disk, and only one of them shows that the storage is in use. */
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

/** Adds what lsblk does not know. */
async function complete(disk: Disk, clock: Clock, signal: AbortSignal | undefined): Promise<Disk> {
  const uses = await allUses(disk, clock);
  // Not for devices that are only selected explicitly, nor for drives that would have to load a
  // medium.
  if (disk.type !== 'disk' || disk.sizeBytes === 0 || disk.removable) return { ...disk, uses };
  const wwn = disk.wwn ?? (await readWwn(disk.path));
  const signature = disk.signature ?? (await readSignature(disk.path, signal).catch(() => undefined));
  signal?.throwIfAborted();
  return { ...disk, uses, wwn, signature };
}

async function allUses(disk: Disk, clock: Clock): Promise<DiskUse[]> {
  const uses = [...disk.uses, ...(await backingLoops(disk.path))];
  // A mount in another mount namespace shows only in that the device cannot be claimed. Not tried
  // on loop devices: their owners would notice the claim.
  const isWorthTrying = uses.length === 0 && disk.sizeBytes > 0 && !disk.readOnly && !disk.removable;
  // The devices of its own partitions claim a multipath device. Opening it shows whether they are
  // in use.
  if (disk.type === 'mpath' && disk.partitions.length > 0) return uses;
  if (isWorthTrying && (disk.type === 'disk' || disk.type === 'mpath') && (await isClaimed(disk.path, clock))) {
    uses.push({ kind: 'claimed', device: disk.path, by: 'something outside this container or mount namespace' });
  }
  return uses;
}
