import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { z } from 'zod';

const partitionTable = z.object({
  partitiontable: z.object({
    sectorsize: z.number(),
    partitions: z.array(z.object({ name: z.string().optional(), start: z.number(), size: z.number() })),
  }),
});

/**
 * Reads a file of a disk's OEM partition (btrfs) without mounting it.
 * @param disk path of a disk or of its image
 */
export async function readOemFile(disk: string, name: string): Promise<Buffer> {
  const { stdout } = await execa('sfdisk', ['--json', disk]);
  const { sectorsize, partitions } = partitionTable.parse(JSON.parse(stdout)).partitiontable;
  const oem = partitions.find((partition) => partition.name === 'OEM');
  if (oem === undefined) throw new Error(`${disk} has no partition OEM`);
  const work = await mkdtemp(join(tmpdir(), 'nibs-oem-'));
  try {
    const copy = join(work, 'oem');
    const extent = [`bs=${sectorsize}`, `skip=${oem.start}`, `count=${oem.size}`];
    await execa('dd', [`if=${disk}`, `of=${copy}`, ...extent, 'conv=sparse', 'status=none']);
    await execa('btrfs', ['restore', '--metadata', copy, work]);
    return await readFile(join(work, name));
  } finally {
    await rm(work, { recursive: true });
  }
}
