import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { runTool } from '../../tools/run-tool.ts';

/**
 * The signature of a whole device, read from the device itself: lsblk gets it from udev, which does
 * not run in containers and small systems.
 * @returns libblkid's name of it; undefined if there is none, or several
 */
export async function readSignature(path: string, signal?: AbortSignal): Promise<string | undefined> {
  // 2: nothing found; 8: ambivalent.
  const args = ['--probe', '--output', 'value', '--match-tag', 'TYPE', path];
  const { stdout } = await runTool('blkid', args, { signal, timeoutSeconds: 30, acceptedExitCodes: [0, 2, 8] });
  return stdout || undefined;
}

/**
 * The World Wide Name from sysfs (SCSI and NVMe devices), for systems without udev, where lsblk has
 * none.
 */
export async function readWwn(path: string): Promise<string | undefined> {
  const directory = `/sys/class/block/${basename(path)}`;
  for (const file of ['wwid', 'device/wwid']) {
    const text = await readFile(`${directory}/${file}`, 'utf8').catch(() => '');
    if (text.trim() !== '') return text.trim();
  }
  return undefined;
}
