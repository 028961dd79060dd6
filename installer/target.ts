import { access, open } from 'node:fs/promises';
import type { Clock } from '../clock/clock.ts';
import { findBootLabel, findEarlierInstallations } from './disk/earlier-installation.ts';
import { DiskError } from './disk/errors.ts';
import type { PartitionTable } from './disk/gpt.ts';
import { isImageFile } from './disk/image-file.ts';
import type { Member } from './disk/members.ts';
import { readTable } from './disk/read-table.ts';
import { type NumberRange, SavedPartitions, type SavedSelection } from './disk/saved-partitions.ts';
import {
  chooseSmallest,
  type Disk,
  defaultMinBytes,
  describeMember,
  listDisks,
  NoDiskError,
  optionFor,
  type Selection,
  type SelectionOptions,
} from './disk/select.ts';
import type { Target } from './plan.ts';
import type { Report } from './progress.ts';

/** What choosing a disk uses. */
interface TargetContext {
  readonly report: Report;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** A controller shows a disk when it has spun up; nothing tells when there are no more to come. */
const pollSeconds = 1;

/**
 * Waits for the disk that the plan describes, as long as that says.
 * @returns path of the disk
 * @throws {NoDiskError} `-s` finds no disk
 */
export async function chooseTarget(target: Target, context: TargetContext): Promise<string> {
  const { clock, report, signal } = context;
  const { waitSeconds = 0 } = target;
  if (target.kind === 'device' && (await isFileToWrite(target))) return target.path;
  for (let waited = 0; ; waited += pollSeconds) {
    const isLast = waited >= waitSeconds;
    if (target.kind === 'device') {
      // Why it cannot be used is found where it is opened.
      if (isLast || (await hasMedium(target.path))) return target.path;
    } else {
      const { chosen, candidates } = await select(target, context);
      if (chosen !== undefined) return chosen.path;
      if (isLast) throw new NoDiskError(candidates, target.minBytes ?? defaultMinBytes);
    }
    if (waited === 0) report.note(`Waiting up to ${waitSeconds} s for a disk that fits`);
    await clock.wait(Math.min(pollSeconds, waitSeconds - waited), signal);
  }
}

/** A path with nothing at it may be a disk that is late, unless a file of a size is wanted. */
async function isFileToWrite({ path, fileBytes }: Target & { kind: 'device' }): Promise<boolean> {
  const isThere = () =>
    access(path).then(
      () => true,
      () => false,
    );
  return (await isImageFile(path)) && (fileBytes !== undefined || (await isThere()));
}

async function select(target: Target & { kind: 'smallest' }, { clock, signal }: TargetContext): Promise<Selection> {
  return chooseSmallest(await listDisks(clock, signal), selectionOptions(target));
}

/** Without those that are not given. */
export function selectionOptions(
  given: {
    readonly [Name in keyof SelectionOptions]: SelectionOptions[Name] | undefined;
  },
): SelectionOptions {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

async function hasMedium(path: string): Promise<boolean> {
  try {
    await using device = await open(path, 'r');
    return (await device.read(Buffer.alloc(512), 0, 512, 0)).bytesRead > 0;
  } catch {
    return false;
  }
}

/**
 * What a disk that was named belongs to is lost; the person may not know of it. Without
 * `--wipe-members` only what the image overwrites is erased, as by the original: a partition beyond
 * it may be made anew at its old place, with its contents.
 * @returns the members to erase
 */
export function warnOfMembers(
  disk: Pick<Disk, 'path' | 'members' | 'unreadable'>,
  saved: SavedPartitions | undefined,
  wipeMembers: Target['wipeMembers'],
  report: Report,
): Member[] {
  const isSaved = ({ offsetBytes }: Member) =>
    saved?.partitions.some((partition) => partition.offsetBytes === offsetBytes) === true;
  const lost = disk.members.filter((member) => !isSaved(member));
  const isErased = ({ isForeign }: Member) => wipeMembers === 'foreign' || (wipeMembers === 'own' && !isForeign);
  if (disk.unreadable !== undefined) {
    report.warn(
      `${disk.path}: it cannot be read (${disk.unreadable}), so it is not known whether it belongs to an array or a pool`,
    );
  }
  for (const member of lost) {
    const fate = isErased(member)
      ? 'is erased'
      : `is overwritten as far as the image reaches (${optionFor(member)} erases it)`;
    report.warn(`${disk.path}: ${describeMember(member, disk)}, and ${fate}`);
  }
  return lost.filter(isErased);
}

/**
 * Finds the partitions to keep while the disk still has its table.
 * @returns undefined if there are none
 * @throws {DiskError} the table cannot be read, or a partition cannot be kept
 */
export async function findPartitionsToSave(
  disk: Pick<Disk, 'path' | 'sizeBytes' | 'sectorSizeBytes'>,
  selection: SavedSelection,
  report: Report,
  signal: AbortSignal,
): Promise<SavedPartitions | undefined> {
  if (selection.labels.length + selection.numbers.length === 0) return undefined;
  const { table, damage } = await readTable(disk);
  if (damage !== undefined) report.warn(`${damage.message}: its backup at the end of the disk is used`);
  if (table === undefined) {
    throw new DiskError({
      what: 'save',
      target: `partitions of ${disk.path}`,
      why: 'it has no partition table (GPT) at its start',
      hint: 'leave out --save-partlabel and --save-partindex if there is nothing to save, or repair the table with gdisk',
    });
  }
  const saved = new SavedPartitions(table, selection, disk);
  for (const wanted of saved.unmatched) {
    const which = typeof wanted === 'string' ? `labelled ${wanted}` : `numbered ${formatRange(wanted)}`;
    report.warn(`${disk.path} has no partition ${which} to save`);
  }
  if (saved.partitions.length === 0) return undefined;
  report.note(`Saving ${saved.partitions.map(({ number, label }) => `partition ${number} (${label})`).join(', ')}`);
  for (const partition of saved.partitions) {
    const label = await findBootLabel(disk.path, partition, signal);
    if (label === undefined) continue;
    report.warn(
      `partition ${partition.number} (${partition.label}) of ${disk.path} has a file system with the label ${label}; the installed system may use it instead of its own (change the label)`,
    );
  }
  return saved;
}

function formatRange({ first, last }: NumberRange): string {
  return first === last ? String(first) : `${first}-${Number.isFinite(last) ? last : ''}`;
}

/** Each saved partition that gets another number, because scripts may go by it. */
export function noteRenumberings(saved: SavedPartitions | undefined, image: PartitionTable, report: Report): void {
  for (const { partition, newNumber } of saved?.renumberingsFor(image) ?? []) {
    const { number, label } = partition;
    report.warn(`partition ${number} (${label}) becomes partition ${newNumber}: the image has a partition ${number}`);
  }
}

/** Called before the disk is changed, while a person can still decide otherwise. */
export async function warnOfEarlierInstallations(
  path: string,
  { report, clock, signal }: { readonly report: Report; readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  const others = await findEarlierInstallations(await listDisks(clock, signal), path, signal);
  for (const other of others) {
    report.warn(
      `${other.path} ${other.sign}; with both disks attached, the machine may boot the kernel of one with the root of the other (detach that disk, or clear it with wipefs --all ${other.path})`,
    );
  }
}
