import { readFile } from 'node:fs/promises';

/**
 * Memory of the machine that no program can take any more: MemTotal less MemAvailable of
 * /proc/meminfo (proc_meminfo(5)). It is what boot image, engine and agent cost.
 *
 * @returns bytes; `undefined` where there is no /proc
 */
export async function usedMemoryBytes(): Promise<number | undefined> {
  const text = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const kibibytes = (name: string) => new RegExp(`^${name}: *(\\d+) kB$`, 'm').exec(text)?.[1];
  const [total, available] = [kibibytes('MemTotal'), kibibytes('MemAvailable')];
  if (total === undefined || available === undefined) return undefined;
  return (Number(total) - Number(available)) * 1024;
}
