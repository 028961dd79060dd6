import { runTool } from '../../tools/run-tool.ts';

/**
 * The signature of a whole device, read from the device itself: lsblk gets it from udev, which does
 * not run in containers and small systems.
 * @returns libblkid's name of it; undefined if there is none, or several that belong to no RAID
 */
export async function readSignature(path: string, signal?: AbortSignal): Promise<string | undefined> {
  // 2: nothing found; 8: ambivalent.
  const probe = async (...which: string[]) => {
    const args = ['--probe', ...which, '--output', 'value', '--match-tag', 'TYPE', path];
    return await runTool('blkid', args, { signal, timeoutSeconds: 30, acceptedExitCodes: [0, 2, 8] });
  };
  const { stdout, exitCode } = await probe();
  // A signature of an earlier file system must not hide that of a RAID.
  const found = exitCode === 8 ? (await probe('--usages', 'raid')).stdout : stdout;
  return found || undefined;
}
