import type { Region } from './members.ts';

/** Of a chain of extended partitions: a damaged one may lead back to its start. */
const maxLogical = 128;

const extendedTypes: readonly number[] = [0x05, 0x0f, 0x85];

/**
 * The partitions in a master boot record, those within extended partitions too, with the numbers
 * that Linux gives them. Source: the kernel's block/partitions/msdos.c.
 * @param read reads `length` bytes of the disk
 */
export async function parseRecord(
  read: (offset: number, length: number) => Promise<Buffer>,
  disk: { readonly path: string; readonly sizeBytes: number; readonly sectorSizeBytes: number },
): Promise<Region[]> {
  const { path, sizeBytes, sectorSizeBytes } = disk;
  const regions: Region[] = [];
  const add = (number: number, firstSector: number, sectors: number) =>
    regions.push({
      device: partitionPath(path, number),
      offsetBytes: firstSector * sectorSizeBytes,
      sizeBytes: sectors * sectorSizeBytes,
    });
  const primary = parseSector(await read(0, 512));
  let logical = 5;
  for (const [index, { type, start, sectors }] of primary.entries()) {
    if (sectors === 0) continue;
    if (!extendedTypes.includes(type)) {
      add(index + 1, start, sectors);
      continue;
    }
    for (let next = start, count = 0; count < maxLogical && next * sectorSizeBytes < sizeBytes; count++) {
      const [data, link] = parseSector(await read(next * sectorSizeBytes, 512));
      if (data !== undefined && data.sectors > 0) add(logical++, next + data.start, data.sectors);
      if (link === undefined || link.sectors === 0) break;
      next = start + link.start;
    }
  }
  return regions;
}

function parseSector(bytes: Buffer): { type: number; start: number; sectors: number }[] {
  if (bytes.length < 512 || bytes.readUInt16BE(510) !== 0x55aa) return [];
  const entries = [446, 462, 478, 494];
  // The boot code of a file system ends in the same way.
  if (entries.some((at) => (bytes.readUInt8(at) & 0x7f) !== 0)) return [];
  return entries.map((at) => ({
    type: bytes.readUInt8(at + 4),
    start: bytes.readUInt32LE(at + 8),
    sectors: bytes.readUInt32LE(at + 12),
  }));
}

/** As the kernel names it: /dev/sda1, /dev/nvme0n1p1. */
export function partitionPath(disk: string, number: number): string {
  return `${disk}${/\d$/.test(disk) ? 'p' : ''}${number}`;
}
