import type { MemoryAttributes } from './attributes.ts';
import { humanSize } from './human-size.ts';
import type { MachineFiles } from './machine-files.ts';

const directory = '/sys/devices/system/memory';

/**
 * What is built in, as the memory blocks that are online, and what programs can use, as MemTotal of
 * /proc/meminfo. A kernel without memory blocks (no CONFIG_MEMORY_HOTPLUG) leaves only the latter,
 * which then stands for both.
 */
export async function readMemory(files: MachineFiles): Promise<MemoryAttributes | undefined> {
  const [, kibibytes] = /^MemTotal:\s+(\d+) kB$/m.exec((await files.text('/proc/meminfo')) ?? '') ?? [];
  if (kibibytes === undefined) return undefined;
  const usableBytes = Number(kibibytes) * 1024;
  return { total: humanSize((await readBlocks(files)) || usableBytes), usable: humanSize(usableBytes) };
}

async function readBlocks(files: MachineFiles): Promise<number> {
  const blockBytes = Number.parseInt((await files.text(`${directory}/block_size_bytes`)) ?? '0', 16);
  const names = (await files.names(directory)).filter((name) => /memory\d+$/.test(name));
  const states = await Promise.all(names.map((name) => files.text(`${directory}/${name}/state`)));
  return blockBytes * states.filter((state) => state === 'online').length;
}
