import { stat } from 'node:fs/promises';
import type { Clock } from '../../clock/clock.ts';
import { reasonOf } from '../../errors/reason.ts';
import { printable } from '../../text/printable.ts';
import { wrapText } from '../../text/wrap.ts';
import { type BlockDevice, formatNumber, readExtent, readLinks, readProperties } from './block-devices.ts';
import { DiskError } from './errors.ts';
import { bareWwn, type Hint, matchesHint, namesTransport } from './hints.ts';
import { readSignature } from './identity.ts';
import { type Claim, readClaim } from './in-use.ts';
import { comparePaths, type DescribedDevice, type Disk, type DiskUse, describeDevices } from './lsblk.ts';
import { findMembers, type Member, type Region } from './members.ts';
import { findUses, partitionsOf, readUsage, type UsageState } from './uses.ts';

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
  /** Only a disk that matches one of these; the first that a usable disk matches counts. */
  readonly match?: readonly Hint[];
  /** No disk that matches one of these. */
  readonly never?: readonly Hint[];
  /**
   * Also disks that belong to arrays and pools of Linux (`own`), or to any system (`foreign`).
   * Default: neither.
   */
  readonly wipeMembers?: 'own' | 'foreign';
}

/** An examined disk. `reason` completes the sentence "{path}: {reason}". */
export interface Candidate {
  readonly disk: Disk;
  readonly verdict: 'chosen' | 'larger' | 'unsuitable' | 'in use' | 'member' | 'too small' | 'excluded';
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
    const ofMembers = candidates.some(({ verdict }) => verdict === 'member');
    const hint = ofMembers
      ? 'select one with -d, or allow disks of arrays and pools with --wipe-members'
      : 'select one with -d';
    super({ what: 'choose', target: 'a disk', why: sentence, hint });
    this.message = `${sentence}\n${describeCandidates(candidates) || 'no block device was found'}`;
    this.candidates = candidates;
  }
}

/**
 * Lists all whole block devices, ordered by path, with their uses and the signatures on them.
 */
export async function listDisks(clock: Clock, signal?: AbortSignal): Promise<Disk[]> {
  const [usage, links, described] = await Promise.all([readUsage(), readLinks(), describeDevices(undefined, signal)]);
  const numbers = new Set(described.map(({ number }) => number));
  const hidden = [...usage.devices.values()].filter(
    ({ number, type, wholeDevice }) => type !== 'part' && wholeDevice === undefined && !numbers.has(number),
  );
  const disks = await Promise.all([
    ...described.map((device) => inspect(device.number, device, { usage, links, clock, signal })),
    ...hidden.map(({ number }) => inspect(number, undefined, { usage, links, clock, signal })),
  ]);
  return disks.flatMap((disk) => disk ?? []).toSorted((a, b) => comparePaths(a.path, b.path));
}

/**
 * One device, as in the list of `listDisks`. Other devices are not looked at, but for further paths
 * to the same storage.
 * @param path of the device itself, not of a link
 * @returns undefined for a partition
 */
export async function inspectDevice(path: string, clock: Clock, signal?: AbortSignal): Promise<Disk | undefined> {
  const number = formatNumber((await stat(path)).rdev);
  // The report also contains the devices on top of it.
  const [usage, links, described] = await Promise.all([readUsage(), readLinks(), describeDevices(path, signal)]);
  const own = described.find((device) => device.number === number);
  const disk = await inspect(number, own, { usage, links, clock, signal, isNamed: true });
  if (disk === undefined || disk.uses.length > 0) return disk;
  return { ...disk, uses: await usesOfOtherPaths(disk, usage) };
}

interface InspectionContext {
  readonly usage: UsageState;
  readonly links: ReadonlyMap<string, readonly string[]>;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
  /** A person has named this device. Default: false. */
  readonly isNamed?: boolean;
}

/** What sysfs shows of a device, with what lsblk knows besides. */
async function inspect(
  number: string,
  described: DescribedDevice | undefined,
  { usage, links, clock, signal, isNamed = false }: InspectionContext,
): Promise<Disk | undefined> {
  const device = [...usage.devices.values()].find((one) => one.number === number);
  const type = described?.type ?? device?.type;
  const path = described?.path ?? device?.path;
  if (type === undefined || path === undefined || type === 'part') return undefined;
  const shown = device === undefined ? undefined : await readProperties(device);
  const [major = 0, minor = 0] = number.split(':').map(Number);
  const parts = device === undefined ? [] : partitionsOf(usage.devices, device);
  // The bus of a multipath device is that of its paths.
  const lower = type === 'mpath' && device !== undefined ? usage.devices.get(device.slaves[0] ?? '') : undefined;
  const transport = lower === undefined ? shown?.transport : (await readProperties(lower)).transport;
  const disk: Disk = {
    path,
    links: links.get(path) ?? links.get(`/dev/${device?.name}`) ?? [],
    major,
    minor,
    type,
    sizeBytes: described?.sizeBytes ?? shown?.sizeBytes ?? 0,
    sectorSizeBytes: described?.sectorSizeBytes ?? shown?.sectorSizeBytes ?? 512,
    readOnly: described?.readOnly ?? shown?.readOnly ?? false,
    removable: described?.removable ?? shown?.removable ?? false,
    isExternal: shown?.isExternal ?? false,
    mayOpen: true,
    rotational: shown?.rotational,
    transport: transport ?? described?.transport,
    vendor: shown?.vendor,
    model: described?.model ?? shown?.model,
    serial: described?.serial ?? shown?.serial,
    wwn: described?.wwn ?? shown?.wwn,
    signature: described?.signature,
    members: [],
    partitions: [...new Set([...parts.map((part) => part.path), ...(described?.partitions ?? [])])],
    uses: allUses(findUses(usage, number), described?.uses ?? []),
  };
  // The owner of a loop device cannot detach it while it is open.
  if (disk.type === 'loop' && !isNamed) return disk;
  return await complete(disk, await regionsOf(parts), clock, signal);
}

/** Those that sysfs shows, and those that only lsblk knows. */
function allUses(shown: readonly DiskUse[], described: readonly DiskUse[]): DiskUse[] {
  const others = described.filter(({ kind, by }) => !shown.some((use) => use.kind === kind && use.by === by));
  return [...shown, ...others];
}

async function regionsOf(parts: readonly BlockDevice[]): Promise<Region[]> {
  const regions = await Promise.all(parts.map(async (part) => ({ part, ...(await readExtent(part)) })));
  return regions.flatMap(({ part, offsetBytes, sizeBytes }) =>
    offsetBytes === undefined ? [] : [{ device: part.path, offsetBytes, sizeBytes }],
  );
}

/**
 * The rule of the original: the smallest of the unused disks larger than the minimum; of several,
 * the first by path. Unlike the original it takes only fixed disks of this machine that belong to
 * no array, pool or cluster: see `verdictOn`. Of several hints, the first that a usable disk
 * matches counts.
 */
export function chooseSmallest(disks: readonly Disk[], options: SelectionOptions = {}): Selection {
  const preferred = disks.toSorted((a, b) => a.sizeBytes - b.sizeBytes || comparePaths(a.path, b.path));
  const verdicts = preferred.map((disk) => ({ disk, ...verdictOn(disk, disks, options) }));
  const usable = verdicts.filter((entry) => entry.verdict === 'larger').map(({ disk }) => disk);
  const { match = [] } = options;
  const hint = match.find((one) => usable.some((disk) => matchesHint(one, disk)));
  const chosen = hint === undefined ? usable[0] : usable.find((disk) => matchesHint(hint, disk));
  const candidates = verdicts.map((entry): Candidate => {
    if (entry.disk !== chosen) return entry;
    const which =
      hint === undefined ? 'the smallest unused disk' : `the smallest unused disk that matches ${hint.text}`;
    return { disk: entry.disk, verdict: 'chosen', reason: which };
  });
  return chosen === undefined ? { candidates } : { chosen, candidates };
}

/**
 * A table of the candidates for people, one line each. If that is wider than `columns`, each has
 * several lines. Empty loop and RAM devices are left out.
 */
export function describeCandidates(candidates: readonly Candidate[], columns = Number.POSITIVE_INFINITY): string {
  const shown = candidates.filter(({ disk }) => disk.sizeBytes > 0 || disk.type === 'disk');
  const rows = shown.map(({ disk, verdict, reason }) => [
    disk.path,
    formatGigabytes(disk.sizeBytes),
    disk.type,
    printable([disk.transport, disk.model, disk.serial].filter((part) => part !== undefined).join(' ')) || '-',
    verdict === 'chosen' ? `chosen: ${reason}` : `${verdict === 'larger' ? '' : 'not usable: '}${reason}`,
  ]);
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)));
  const table = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
  if (table.every((line) => line.length <= columns)) return table.join('\n');
  const lists = rows.map(([path = '', size, type, description = '', verdict = '']) => [
    ...wrapText(`${path}  ${size}  ${type}`, columns),
    ...[description, verdict].flatMap((text) => wrapText(text, columns - 2).map((line) => `  ${line}`)),
  ]);
  return lists.flat().join('\n');
}

/**
 * Judges one disk; the others matter only as further paths to the same storage. 'larger': it could
 * be chosen.
 */
function verdictOn(disk: Disk, all: readonly Disk[], options: SelectionOptions): Omit<Candidate, 'disk'> {
  const { includeMajors, excludeMajors, match = [], never = [], minBytes = defaultMinBytes } = options;
  const excluded = (reason: string) => ({ verdict: 'excluded', reason }) as const;
  if (includeMajors !== undefined && !includeMajors.includes(disk.major)) {
    return excluded(`its major number ${disk.major} is not in the list of -I`);
  }
  if (excludeMajors?.includes(disk.major)) return excluded(`its major number ${disk.major} is in the list of -e`);
  const forbidden = findNever(disk, never);
  if (forbidden !== undefined) return excluded(`it matches --never ${forbidden.text}`);
  const matching = match.filter((hint) => matchesHint(hint, disk));
  if (match.length > 0 && matching.length === 0) return excluded('it does not match --match');
  const unsuitable =
    unsuitability(disk, includeMajors?.includes(disk.major) ?? false) ??
    attachment(
      disk,
      includeMajors?.includes(disk.major) === true || matching.some((hint) => namesTransport(hint, disk)),
    );
  if (unsuitable !== undefined) return { verdict: 'unsuitable', reason: unsuitable };
  const use = disk.uses[0] ?? useOfOtherPath(disk, all);
  if (use !== undefined) return { verdict: 'in use', reason: describeUse(use, disk) };
  // One bad sector may hide the only signature of a pool.
  if (disk.unreadable !== undefined)
    return { verdict: 'unsuitable', reason: `it cannot be read: ${disk.unreadable} (select it with -d)` };
  const membership = membershipOf(disk, options.wipeMembers);
  if (membership !== undefined) return { verdict: 'member', reason: membership };
  if (disk.sizeBytes <= minBytes) {
    return { verdict: 'too small', reason: `it is not larger than ${formatGigabytes(minBytes)}` };
  }
  return { verdict: 'larger', reason: 'usable, but not the smallest' };
}

/** The hint by which a disk must not be touched, if there is one. */
export function findNever(disk: Disk, never: readonly Hint[] = []): Hint | undefined {
  return never.find((hint) => matchesHint(hint, disk));
}

function unsuitability(disk: Disk, namedByMajor: boolean): string | undefined {
  if (disk.sizeBytes === 0) return 'it has no medium or size';
  if (disk.readOnly) return 'it is read-only';
  // RAM disks and zram are disks to lsblk.
  if (/^\/dev\/(z?ram|fd)\d+$/.test(disk.path)) return 'it is a RAM disk or floppy, which cannot be booted from';
  if (disk.type === 'loop' || disk.type === 'lvm') {
    if (!namedByMajor)
      return `it is of type ${disk.type} (select it with -d, or its major number with -I ${disk.major})`;
  } else if (disk.type !== 'disk' && disk.type !== 'mpath') {
    return `it is of type ${disk.type}, not a full disk`;
  }
  if (!disk.mayOpen) return 'this process may not open it';
  if (disk.sectorSizeBytes !== 512) {
    return `its sectors have ${disk.sectorSizeBytes} bytes, but the image needs sectors of 512`;
  }
  return undefined;
}

/** Ways in which disks are attached from outside of the machine, with the reason for the list. */
const outside: Readonly<Record<string, string>> = {
  usb: 'it is attached by USB',
  sd: 'it is an SD card',
  sbp: 'it is attached by FireWire',
  iscsi: 'it is in a storage network',
  fc: 'it is in a storage network',
  'nvme-tcp': 'it is in a storage network',
  'nvme-rdma': 'it is in a storage network',
  'nvme-fc': 'it is in a storage network',
  'nvme-loop': 'it is in a storage network',
};

/** A disk of the machine itself is neither removable nor made of other devices. */
function attachment(disk: Disk, isNamed: boolean): string | undefined {
  const { transport = '' } = disk;
  if (isNamed) return undefined;
  const softwarePath = /^\/dev\/(bcache|nbd|rbd|drbd|zd|pmem|nullb|ublkb|mtdblock|ubiblock)\d/;
  if (transport === 'software' || softwarePath.test(disk.path)) {
    // Multipath devices have the bus of their paths.
    if (disk.type === 'mpath') return undefined;
    return `it is made by software of other storage (select it with -d, or its major number with -I ${disk.major})`;
  }
  const how = Object.hasOwn(outside, transport) ? outside[transport] : undefined;
  if (how !== undefined) return `${how} (select it with -d, or with --match transport=${transport})`;
  if (disk.removable) return 'it is removable (select it with -d)';
  if (disk.isExternal) return 'it is attached to a port for external devices (select it with -d)';
  return undefined;
}

function membershipOf(disk: Disk, wipeMembers: SelectionOptions['wipeMembers']): string | undefined {
  const foreign = disk.members.find(({ isForeign }) => isForeign);
  const member = foreign ?? disk.members[0];
  if (member === undefined || wipeMembers === 'foreign') return undefined;
  if (foreign === undefined && wipeMembers === 'own') return undefined;
  return `${describeMember(member, disk)} (select it with -d, or give ${optionFor(member)})`;
}

/** The option that allows to wipe it. */
export function optionFor({ isForeign }: Member): string {
  return isForeign ? '--wipe-members=foreign' : '--wipe-members';
}

/** "it has a signature of ZFS (zfs_member)", "its partition /dev/sda2 has …" */
export function describeMember(member: Member, disk: { readonly path: string }): string {
  const subject = member.device === disk.path ? 'it' : `its partition ${member.device}`;
  return `${subject} has a signature of ${member.system} (${member.signature})`;
}

/** Without multipath each path is a disk, and only one of them shows that the storage is in use. */
function useOfOtherPath(disk: Disk, all: readonly Disk[]): DiskUse | undefined {
  return all.find((other) => other.path !== disk.path && isSameStorage(disk, other) && other.uses.length > 0)?.uses[0];
}

/** Some devices have a number that is not theirs alone; then size or serial number differ. */
function isSameStorage(
  one: Pick<Disk, 'wwn' | 'serial' | 'sizeBytes'>,
  other: Pick<Disk, 'wwn' | 'serial' | 'sizeBytes'>,
): boolean {
  if (one.wwn === undefined || other.wwn === undefined || bareWwn(one.wwn) !== bareWwn(other.wwn)) return false;
  const hasOtherSerial = one.serial !== undefined && other.serial !== undefined && one.serial !== other.serial;
  return one.sizeBytes === other.sizeBytes && !hasOtherSerial;
}

/** The uses of other disks that are paths to the same storage. */
export async function usesOfOtherPaths(
  disk: Pick<Disk, 'wwn' | 'serial' | 'sizeBytes' | 'major' | 'minor'>,
  usage: UsageState,
): Promise<DiskUse[]> {
  if (disk.wwn === undefined) return [];
  const found: DiskUse[] = [];
  for (const device of usage.devices.values()) {
    if (device.number === `${disk.major}:${disk.minor}` || device.type !== 'disk') continue;
    // The serial number of lsblk has another form than that of sysfs.
    const other = { ...(await readProperties(device)), serial: undefined };
    if (isSameStorage(disk, other)) found.push(...findUses(usage, device.number));
  }
  return found;
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

/** Adds what only the device itself tells. */
async function complete(
  disk: Disk,
  regions: readonly Region[],
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<Disk> {
  const { claim, uses } = await tryClaim(disk, clock);
  const opened = { ...disk, uses, mayOpen: claim !== 'denied' };
  // Not of drives that would have to load a medium.
  if (disk.sizeBytes === 0 || disk.type === 'rom' || !opened.mayOpen) return opened;
  const { members, unreadable } = await readMembers(disk, regions, signal);
  // Not for devices that are only selected explicitly.
  if (disk.type !== 'disk' || disk.removable) return { ...opened, members, unreadable };
  const signature = disk.signature ?? (await readSignature(disk.path, signal).catch(() => undefined));
  signal?.throwIfAborted();
  return { ...opened, signature, members: withArray(disk, members, signature), unreadable };
}

async function readMembers(
  disk: Disk,
  regions: readonly Region[],
  signal: AbortSignal | undefined,
): Promise<Pick<Disk, 'members' | 'unreadable'>> {
  try {
    return { members: await findMembers(disk, regions, signal), unreadable: undefined };
  } catch (error) {
    signal?.throwIfAborted();
    return { members: [], unreadable: reasonOf(error) };
  }
}

/** libblkid and multipath know further kinds. */
function withArray(disk: Disk, members: readonly Member[], signature: string | undefined): readonly Member[] {
  const isArray = signature?.endsWith('raid_member') === true || signature === 'mpath_member';
  if (!isArray || members.some((member) => member.device === disk.path)) return members;
  const system = signature === 'mpath_member' ? 'a multipath device' : 'a RAID';
  const whole = { device: disk.path, offsetBytes: 0, sizeBytes: disk.sizeBytes };
  return [{ ...whole, signature, system, isForeign: false }, ...members];
}

async function tryClaim(disk: Disk, clock: Clock): Promise<{ claim: Claim | undefined; uses: readonly DiskUse[] }> {
  const { uses, type } = disk;
  // A mount in another mount namespace may show only in that the device cannot be claimed. Not
  // tried on loop devices: their owners would notice the claim.
  const isWorthTrying = uses.length === 0 && disk.sizeBytes > 0 && !disk.readOnly && !disk.removable;
  // The devices of its own partitions claim a multipath device. Opening it shows whether they are
  // in use.
  const hasMaps = type === 'mpath' && disk.partitions.length > 0;
  if (!isWorthTrying || hasMaps || (type !== 'disk' && type !== 'mpath')) return { claim: undefined, uses };
  const claim = await readClaim(disk.path, clock);
  if (claim !== 'claimed') return { claim, uses };
  return {
    claim,
    uses: [{ kind: 'claimed', device: disk.path, by: 'something outside this container or mount namespace' }],
  };
}
