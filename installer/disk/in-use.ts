import { constants, open } from 'node:fs/promises';
import type { Clock } from '../../clock/clock.ts';

/**
 * Error of an exclusive open of a block device that is mounted or held, or has such a partition.
 */
const claimedCode = 'EBUSY';

/** Result of an exclusive open: nothing holds it, something does, or this process may not know. */
export type Claim = 'free' | 'claimed' | 'denied';

/**
 * Whether the block device is held exclusively: by a mount (in any mount namespace), a device on
 * top of it, another installer. A device that cannot be opened for another reason counts as free;
 * opening it for writing reports the reason. Source: open(2), O_EXCL on a block device.
 */
export async function readClaim(path: string, clock: Clock): Promise<Claim> {
  // A partition scan claims the device for some milliseconds.
  for (let attempt = 1; attempt <= 3; attempt++) {
    try {
      const handle = await open(path, constants.O_RDONLY | constants.O_EXCL | constants.O_NONBLOCK);
      await handle.close();
      return 'free';
    } catch (error) {
      const code = codeOf(error);
      if (code === 'EPERM' || code === 'EACCES') return 'denied';
      if (code !== claimedCode) return 'free';
      if (attempt < 3) await clock.wait(0.1);
    }
  }
  return 'claimed';
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
