import { readFile } from 'node:fs/promises';

/**
 * Memory of the machine that no program can take any more: MemTotal less MemAvailable of
 * /proc/meminfo (proc_meminfo(5)), less the free pages that the kernel keeps ready for each
 * processor. /proc/meminfo does not count those as free: since Linux 6.7 they may be an eighth of
 * the memory, for example what the initramfs took before it was unpacked. The rest is what boot
 * image, engine and agent cost.
 *
 * @returns bytes; `undefined` where there is no /proc
 */
export async function usedMemoryBytes(): Promise<number | undefined> {
  const [memory, zones] = await Promise.all(
    ['meminfo', 'zoneinfo'].map((name) => readFile(`/proc/${name}`, 'utf8').catch(() => '')),
  );
  return usedMemoryIn(memory ?? '', zones ?? '');
}

/** @param zones of /proc/zoneinfo, whose figures are pages; empty where it cannot be read */
export function usedMemoryIn(memory: string, zones: string): number | undefined {
  const kibibytes = (name: string) => new RegExp(`^${name}: *(\\d+) kB$`, 'm').exec(memory)?.[1];
  const [total, available] = [kibibytes('MemTotal'), kibibytes('MemAvailable')];
  if (total === undefined || available === undefined) return undefined;
  const pages = (pattern: RegExp) => zones.matchAll(pattern).reduce((sum, [, count]) => sum + Number(count), 0);
  // The zones together are MemTotal.
  const managedPages = pages(/^ +managed +(\d+)$/gm);
  const readyPages = pages(/^ +count: +(\d+)$/gm);
  const ready = managedPages === 0 ? 0 : Math.round((readyPages / managedPages) * Number(total));
  return (Number(total) - Number(available) - ready) * 1024;
}
