import { createHash } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { z } from 'zod';
import { diskStatistics } from '../sandbox/disk-statistics.ts';
import type { Machine } from '../sandbox/machine.ts';

/** A disk of the demonstration's machine. */
export interface DemoDisk {
  readonly serial: string;
  readonly path: string;
  readonly sizeBytes: number;
  /** What the installer must make of it. */
  readonly role: 'too small' | 'smallest that fits' | 'larger';
}

/** The original asks for more than 10^10 bytes; sizes are chosen close to that on both sides. */
const plan = [
  { serial: 'SMALL', sizeBytes: 9_999_220_736, role: 'too small' },
  { serial: 'TARGET', sizeBytes: 10_737_418_240, role: 'smallest that fits' },
  { serial: 'LARGE', sizeBytes: 12_884_901_888, role: 'larger' },
] as const;

/**
 * Makes the disks as sparse files. Those that must stay untouched hold foreign data: at their
 * start, in the middle and at their end.
 */
export async function createDisks(directory: string): Promise<readonly DemoDisk[]> {
  const disks = plan.map((disk) => ({ ...disk, path: pathOf(directory, disk.serial) }));
  for (const disk of disks) {
    await using file = await open(disk.path, 'w');
    await file.truncate(disk.sizeBytes);
    if (disk.role === 'smallest that fits') continue;
    const data = Buffer.alloc(1 << 20, `data of another system on ${disk.serial}; `);
    for (const offset of [0, Math.floor(disk.sizeBytes / 2 / 4096) * 4096, disk.sizeBytes - data.length]) {
      await file.write(data, 0, data.length, offset);
    }
  }
  return disks;
}

/** What is left in the directory are logs. */
export async function removeDisks(directory: string): Promise<void> {
  for (const { serial } of plan) await rm(pathOf(directory, serial), { force: true });
}

function pathOf(directory: string, serial: string): string {
  return join(directory, `${serial.toLowerCase()}.img`);
}

const extents = z.array(z.object({ start: z.number(), length: z.number(), data: z.boolean(), zero: z.boolean() }));

/**
 * SHA-256 over the disk's size and over offset and bytes of each chunk that is not all zeroes, so
 * that 20 GB of nothing need not be read. Two disks have the same checksum only if they have the
 * same bytes: which parts of the file are allocated plays no role.
 */
export async function checksum(disk: DemoDisk): Promise<string> {
  const { stdout } = await execa('qemu-img', ['map', '--force-share', '-f', 'raw', '--output=json', disk.path]);
  const hash = createHash('sha256').update(`size ${disk.sizeBytes}\n`);
  await using file = await open(disk.path, 'r');
  const chunk = Buffer.alloc(1 << 20);
  for (const extent of extents.parse(JSON.parse(stdout)).filter(({ data, zero }) => data && !zero)) {
    const end = extent.start + extent.length;
    // Chunks begin at multiples of their size, so that they do not depend on where an extent
    // begins.
    for (let offset = Math.floor(extent.start / chunk.length) * chunk.length; offset < end; offset += chunk.length) {
      const { bytesRead } = await file.read(chunk, 0, chunk.length, offset);
      const bytes = chunk.subarray(0, bytesRead);
      if (!bytes.every((byte) => byte === 0)) hash.update(`at ${offset}\n`).update(bytes);
    }
  }
  return hash.digest('hex');
}

/** Bytes that the machine has written to each disk since it was started, by the disk's position. */
export async function bytesWritten(machine: Machine): Promise<readonly number[]> {
  return (await diskStatistics(machine)).map(({ stats }) => stats.wr_bytes);
}
