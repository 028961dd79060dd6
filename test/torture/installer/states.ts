import { type Partition, parseEitherTable, parseTable } from '../../../installer/disk/gpt.ts';
import type { Machine, Variant } from './machine.ts';

const mebibyte = 1024 * 1024;
const sectorBytes = 512;

/**
 * What a disk is, by its bytes; every other content is a violation.
 *
 * - as it was: no byte is changed.
 * - being cleared: of each sector of the first and the last MiB either what it was or zeroes, or
 *   the table of the kept partitions; the rest is as it was.
 * - no table: the first and the last MiB are zeroes.
 * - only the kept partition: the table at either end describes that and no other, and its content
 *   is as it was.
 * - being committed: all of the image that is no table is on the disk. The first sector is not
 *   written: no firmware starts anything, and no reader of partition tables accepts a GPT without
 *   the protective MBR. Of each other sector of the first and the last MiB either what is installed
 *   or what was there before.
 * - installed: every byte is that of the image, or with a config, of the image outside of the OEM
 *   partition.
 */
export type State =
  | 'as it was'
  | 'being cleared'
  | 'no table'
  | 'only the kept partition'
  | 'being committed'
  | 'installed';

/** What the disk of a variant can hold. */
export interface Expected {
  readonly initial: Uint8Array;
  /** After an installation without faults. */
  readonly installed: Uint8Array;
  /** The ends of the disk between clearing and commit. */
  readonly head: Uint8Array;
  readonly tail: Uint8Array;
  /** Where the config is: begin and end of the OEM partition, whose bytes are not compared. */
  readonly changed: readonly [start: number, end: number] | undefined;
}

/**
 * @returns the state, or what is wrong
 */
export function stateOf(content: Uint8Array, variant: Variant, expected: Expected): State | { readonly wrong: string } {
  const { initial, installed, head, tail } = expected;
  const tailStart = content.length - mebibyte;
  const ends = (bytes: Uint8Array) => [bytes.subarray(0, mebibyte), bytes.subarray(tailStart)] as const;
  const isEqual = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;
  if (isEqual(content, initial)) return 'as it was';
  if (variant === 'save' && !partitionsOf(content).some(({ label }) => label === 'data'))
    return { wrong: 'no table has the partition to be kept' };
  const [contentHead, contentTail] = ends(content);
  const isInstalledBetween = () =>
    partsOf(mebibyte, tailStart, expected.changed).every((part) =>
      isEqual(content.subarray(...part), installed.subarray(...part)),
    );
  if (isEqual(contentHead, ends(installed)[0]) && isEqual(contentTail, ends(installed)[1]) && isInstalledBetween())
    return 'installed';
  if (isEqual(contentHead, head) && isEqual(contentTail, tail)) {
    if (variant !== 'save') return 'no table';
    const kept = keptRange(content);
    if (kept === undefined) return { wrong: 'the kept partition is not in the table' };
    const isKept = isEqual(content.subarray(...kept), initial.subarray(...kept));
    return isKept ? 'only the kept partition' : { wrong: 'the kept partition has changed' };
  }
  const mixed = (bytes: Uint8Array, ...sources: readonly Uint8Array[]) => firstForeignSector(bytes, sources);
  if (isEqual(content.subarray(mebibyte, tailStart), initial.subarray(mebibyte, tailStart))) {
    const sector = mixed(contentHead, ends(initial)[0], head) ?? mixed(contentTail, ends(initial)[1], tail);
    return sector === undefined ? 'being cleared' : { wrong: `sector ${sector} of an end is neither old nor cleared` };
  }
  if (!isInstalledBetween()) {
    const at = differs(content, installed, mebibyte, tailStart, expected.changed);
    return { wrong: `the ends are not clear, and byte ${at} is not that of the image` };
  }
  const sector = mixed(contentTail, tail, ends(installed)[1]) ?? mixed(contentHead, head, ends(installed)[0]);
  if (sector !== undefined) return { wrong: `sector ${sector} of an end is neither cleared nor that of the image` };
  if (!isEqual(contentHead.subarray(0, sectorBytes), head.subarray(0, sectorBytes)))
    return { wrong: 'the first sector is written, but not all of the first and the last MiB' };
  return 'being committed';
}

/**
 * @param except a range that is not compared
 * @returns offset of the first difference
 */
function differs(
  a: Uint8Array,
  b: Uint8Array,
  start: number,
  end: number,
  except: Expected['changed'],
): number | undefined {
  for (const [from, to] of partsOf(start, end, except)) {
    if (Buffer.compare(a.subarray(from, to), b.subarray(from, to)) === 0) continue;
    for (let offset = from; offset < to; offset++) if (a[offset] !== b[offset]) return offset;
  }
  return undefined;
}

function partsOf(start: number, end: number, except: Expected['changed']): readonly (readonly [number, number])[] {
  if (except === undefined) return [[start, end]];
  return [
    [start, except[0]],
    [except[1], end],
  ];
}

/** @returns number of the first sector that is that of none of `sources` */
function firstForeignSector(bytes: Uint8Array, sources: readonly Uint8Array[]): number | undefined {
  for (let start = 0; start < bytes.length; start += sectorBytes) {
    const sector = bytes.subarray(start, start + sectorBytes);
    if (!sources.some((source) => Buffer.compare(sector, source.subarray(start, start + sectorBytes)) === 0))
      return start / sectorBytes;
  }
  return undefined;
}

/** Begin and end of the partition `data`, if the table has it alone. */
function keptRange(content: Uint8Array): readonly [number, number] | undefined {
  const [kept, ...others] = partitionsOf(content);
  if (kept?.label !== 'data' || others.length > 0) return undefined;
  return [kept.offsetBytes, kept.offsetBytes + kept.sizeBytes];
}

/** Those of the primary table, or of its backup if that is damaged; none if both are. */
function partitionsOf(content: Uint8Array): readonly Partition[] {
  const disk = { path: 'the disk', sizeBytes: content.length, sectorSizeBytes: sectorBytes };
  try {
    return parseEitherTable(content.subarray(0, mebibyte), content.subarray(-mebibyte), disk).table?.partitions ?? [];
  } catch {
    return [];
  }
}

/** Installs without faults, and checks the result against the image. */
export async function learnExpected(machine: Machine, variant: Variant): Promise<Expected> {
  await machine.prepare(variant);
  machine.disks.begin(machine.targetOf(variant));
  const { exitCode, output } = await machine.run(variant);
  if (exitCode !== 0) throw new Error(`the installation without faults (${variant}) failed: ${output}`);
  const installed = machine.diskOf(variant).content.slice();
  const { raw } = machine.releaseFor(variant);
  // With kept partitions the table has them too.
  const oem = parseTable(raw.subarray(0, mebibyte), 'the image', sectorBytes)?.partitions.find(
    ({ label }) => label === 'OEM',
  );
  const changed =
    variant === 'config' && oem !== undefined
      ? ([oem.offsetBytes, oem.offsetBytes + oem.sizeBytes] as const)
      : undefined;
  const [from, to] = variant === 'save' ? [mebibyte, raw.length - mebibyte] : [0, raw.length];
  const at = differs(installed, raw, from, to, changed);
  if (at !== undefined) throw new Error(`without faults, byte ${at} of the disk (${variant}) is not that of the image`);
  const initial = machine.initial[machine.targetOf(variant)] ?? new Uint8Array();
  const [head, tail] = variant === 'save' ? await clearedEnds(machine, initial.length) : [zeroes(), zeroes()];
  return { initial, installed, head, tail, changed };
}

const zeroes = () => new Uint8Array(mebibyte);

/**
 * As the installer wrote them, with the table of the kept partition: its first flush follows the
 * backup, the second one the primary table.
 */
async function clearedEnds(machine: Machine, sizeBytes: number): Promise<readonly [Uint8Array, Uint8Array]> {
  const ends = [zeroes(), zeroes()] as const;
  const starts = [0, sizeBytes - mebibyte];
  let flushes = 0;
  for (const [disk, operation] of await machine.disks.operations()) {
    if (disk !== machine.targetOf('save')) continue;
    if (operation.kind === 'flush' && ++flushes === 2) break;
    if (operation.kind !== 'write') continue;
    for (const [index, start] of starts.entries()) {
      const offset = operation.offsetBytes - start;
      if (offset >= 0 && offset < mebibyte) ends[index]?.set(operation.bytes, offset);
    }
  }
  return ends;
}
