import { z } from 'zod';
import type { Machine } from './machine.ts';

interface WithMonitor {
  readonly monitor: Pick<Machine['monitor'], 'command'>;
}

const blockStatistics = z.array(
  z.looseObject({
    device: z.string().optional(),
    stats: z.looseObject({ rd_bytes: z.number(), wr_bytes: z.number() }),
  }),
);

/** Bytes that the machine has read from and written to all its disks since it was started. */
export async function bytesTransferred(machine: WithMonitor): Promise<number> {
  return (await diskStatistics(machine)).reduce((sum, { stats }) => sum + stats.rd_bytes + stats.wr_bytes, 0);
}

/** Of each disk, by its position. */
export async function diskStatistics(machine: WithMonitor) {
  const answer = await machine.monitor.command('query-blockstats');
  // The firmware's own flash memory is among them.
  return blockStatistics.parse(answer).filter(({ device }) => /^disk\d+$/.test(device ?? ''));
}
