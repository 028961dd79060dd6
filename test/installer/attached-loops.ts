import { deviceNumber } from '../../installer/disk/block-devices.ts';
import { readUsage } from '../../installer/disk/uses.ts';

/** Paths of the loop devices that are backed by a device. */
export async function attachedLoops(path: string): Promise<string[]> {
  const number = (await deviceNumber(path)) ?? '';
  return ((await readUsage()).loops.get(number) ?? []).map((loop) => loop.path);
}
