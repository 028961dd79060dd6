import type { LoggedWrite } from './write-log.ts';

const mebibyte = 1024 * 1024;

/**
 * Whether no power cut during an installation leaves a disk that looks bootable. The writes between
 * two flushes can be lost in any combination. So the old table must be gone before anything else is
 * written, and the new one must be written when all else is on the disk.
 * @returns `the table last`, or what is wrong
 */
export function orderOf(entries: readonly LoggedWrite[], sizeBytes: number): string {
  const epochs: LoggedWrite[][] = [[]];
  for (const entry of entries) {
    if (entry.kind === 'flush') epochs.push([]);
    else epochs.at(-1)?.push(entry);
  }
  const [first = [], ...others] = epochs.filter((epoch) => epoch.length > 0);
  const last = others.pop() ?? [];
  const ends = ({ start, end }: Range) => end <= mebibyte || start >= sizeBytes - mebibyte;
  if (!first.every((entry) => isZero(entry) && ends(rangeOf(entry)))) return 'not the clearing of the ends first';
  if (!first.some((entry) => rangeOf(entry).start === 0)) return 'the old table is not cleared first';
  // A table counts only with its first sector.
  if (others.flat().some(hasFirstSector)) return 'the first sector is not the last';
  if (others.flat().length === 0) return 'nothing but the table';
  return last.every((entry) => rangeOf(entry).end <= mebibyte) ? 'the table last' : 'data with the table';
}

interface Range {
  readonly start: number;
  readonly end: number;
}

function rangeOf(entry: LoggedWrite): Range {
  if (entry.kind === 'flush') return { start: 0, end: 0 };
  const lengthBytes = entry.kind === 'write' ? entry.bytes.length : entry.lengthBytes;
  return { start: entry.offsetBytes, end: entry.offsetBytes + lengthBytes };
}

function hasFirstSector(entry: LoggedWrite): boolean {
  return (
    entry.kind === 'write' && entry.offsetBytes < 512 && !isZero({ ...entry, bytes: entry.bytes.subarray(0, 512) })
  );
}

function isZero(entry: LoggedWrite): boolean {
  return entry.kind === 'write' && entry.bytes.equals(Buffer.alloc(entry.bytes.length));
}
