import { type FileHandle, open } from 'node:fs/promises';

/** What reached a disk, in order. */
export type LoggedWrite =
  /** With zeroes for a range that the disk zeroed itself. */
  | { readonly kind: 'write'; readonly offsetBytes: number; readonly bytes: Buffer }
  | { readonly kind: 'discard'; readonly offsetBytes: number; readonly lengthBytes: number }
  /** All before it survives a power cut. */
  | { readonly kind: 'flush' };

const flags = { flush: 1, forceUnitAccess: 2, discard: 4, mark: 8 };
const superMagic = 0x6a736677736872n;

/**
 * Reads the log that QEMU's driver blklogwrites makes, in the format of the kernel's dm-log-writes
 * (Documentation/admin-guide/device-mapper/log-writes.rst).
 */
export async function readWriteLog(path: string): Promise<LoggedWrite[]> {
  await using file = await open(path);
  const superblock = await readAt(file, 0, 28);
  if (superblock.readBigUInt64LE(0) !== superMagic) throw new Error(`${path} is no log of writes`);
  const count = Number(superblock.readBigUInt64LE(16));
  const sectorBytes = superblock.readUInt32LE(24);
  const entries: LoggedWrite[] = [];
  let at = sectorBytes;
  for (let i = 0; i < count; i++) {
    const header = await readAt(file, at, 32);
    const [sector, sectors, flag] = [0, 8, 16].map((offset) => Number(header.readBigUInt64LE(offset))) as [
      number,
      number,
      number,
    ];
    at += sectorBytes;
    const [offsetBytes, lengthBytes] = [sector * sectorBytes, sectors * sectorBytes];
    if (flag & flags.discard) {
      entries.push({ kind: 'discard', offsetBytes, lengthBytes });
      continue;
    }
    // A flush that comes with a write is before it (REQ_PREFLUSH).
    // QEMU logs some twice.
    if (flag & flags.flush && entries.at(-1)?.kind !== 'flush') entries.push({ kind: 'flush' });
    if (flag & flags.mark || lengthBytes === 0) continue;
    const bytes = await readAt(file, at, lengthBytes);
    at += lengthBytes;
    entries.push({ kind: 'write', offsetBytes, bytes });
    if (flag & flags.forceUnitAccess) throw new Error(`${path}: a write that passes the cache is not supported`);
  }
  return entries;
}

/** Writes some of the entries to a disk that is as it was before them. */
export async function replay(entries: readonly LoggedWrite[], disk: FileHandle): Promise<void> {
  for (const entry of entries)
    if (entry.kind === 'write') await disk.write(entry.bytes, 0, entry.bytes.length, entry.offsetBytes);
}

async function readAt(file: FileHandle, position: number, lengthBytes: number): Promise<Buffer> {
  const { bytesRead, buffer } = await file.read(Buffer.alloc(lengthBytes), 0, lengthBytes, position);
  if (bytesRead < lengthBytes) throw new Error(`a log of writes ends within an entry, at byte ${position}`);
  return buffer;
}
