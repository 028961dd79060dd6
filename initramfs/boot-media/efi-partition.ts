import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { MediaTools } from './media-tools.ts';

/** What UEFI firmware finds in the EFI system partition of a medium. */
export interface EfiFile {
  /** In the partition, as `EFI/BOOT/BOOTX64.EFI`. */
  readonly path: string;
  readonly content: Uint8Array;
}

const sectorBytes = 512;

/** FAT16 has fewer clusters than this. */
const maxFat16Clusters = 65_525;

/**
 * Writes an image of a FAT file system with these files.
 *
 * @param scratch an empty directory
 * @param timeSeconds the time of the files, and the serial number of the file system
 */
export async function writeEfiPartition(
  files: readonly EfiFile[],
  image: string,
  scratch: string,
  timeSeconds: number,
  tools: MediaTools,
): Promise<void> {
  const environment = {
    ...{ SOURCE_DATE_EPOCH: String(timeSeconds), TZ: 'UTC' },
    MTOOLSRC: '/dev/null', // not the settings of the build machine
  };
  const contentBytes = files.reduce((sum, { content }) => sum + content.length, 0);
  // The file system's own structures, and files that do not end at the end of a cluster.
  const spareBytes = (1 << 20) + contentBytes / 32;
  const sectors = Math.ceil((contentBytes + spareBytes) / sectorBytes / 32) * 32; // whole tracks
  const serial = timeSeconds.toString(16).padStart(8, '0');
  // With clusters of one sector a small one is FAT16: not all firmware reads FAT12.
  const clusters = sectors < maxFat16Clusters ? ['-c', '1'] : [];
  const geometry = ['-h', '16', '-s', '32', '-T', String(sectors), ...clusters];
  await tools.run('mformat', ['-i', image, '-C', ...geometry, '-N', serial, '-v', 'NIBS', '::'], { environment });
  const directories = new Set(files.flatMap(({ path }) => parents(path)));
  for (const path of directories) await tools.run('mmd', ['-i', image, `::/${path}`], { environment });
  for (const { path, content } of files) {
    const source = join(scratch, path);
    await mkdir(dirname(source), { recursive: true });
    await writeFile(source, content);
    await tools.run('mcopy', ['-i', image, source, `::/${path}`], { environment });
  }
}

/** `EFI/BOOT/x` → `EFI`, `EFI/BOOT` */
function parents(path: string): string[] {
  const names = path.split('/').slice(0, -1);
  return names.map((_, index) => names.slice(0, index + 1).join('/'));
}
