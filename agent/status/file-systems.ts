import { readFile, statfs } from 'node:fs/promises';
import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import { within } from '../../clock/within.ts';
import { printable } from '../../text/printable.ts';

/** Free space of a mounted file system. */
export interface FreeSpace {
  readonly mountPoint: string;
  readonly availableBytes: number;
}

export interface FileSystemsOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** Mounts as in proc_pid_mountinfo(5). Default: those of this process. */
  readonly mounts?: (() => Promise<string>) | undefined;
  /** As `statfs()` of node:fs/promises. */
  readonly statfs?: ((path: string) => Promise<{ bavail: number; bsize: number; blocks: number }>) | undefined;
}

/**
 * File systems of other machines: if the server does not answer, the kernel waits for it without a
 * limit, and a thread of this process with it.
 */
const remoteTypes = /^(?:nfs|cifs$|smb|9p$|ceph$|afs$|gfs|ocfs|lustre$|virtiofs$|fuse)/;

const statTimeoutSeconds = 1;

/** As many file systems may be stuck as leave most of libuv's four threads to others. */
const maxStuck = 1;

const maxFileSystems = 256;

/**
 * Makes a function that measures the free space of the local file systems that have a size, each
 * once. It never takes long: one that does not answer is left out, and not asked again until it has
 * answered.
 */
export function createFreeSpaceReader({
  clock = systemClock,
  mounts = () => readFile('/proc/self/mountinfo', 'utf8'),
  statfs: stat = statfs,
}: FileSystemsOptions = {}): () => Promise<readonly FreeSpace[]> {
  const stuck = new Set<string>();
  const never = new AbortController().signal;

  async function measure(mountPoint: string): Promise<FreeSpace | undefined> {
    if (stuck.has(mountPoint) || stuck.size >= maxStuck) return undefined;
    stuck.add(mountPoint);
    const asked = stat(mountPoint).finally(() => stuck.delete(mountPoint));
    try {
      const { bavail, bsize, blocks } = await within(clock, limit, never, () => asked);
      return blocks === 0 ? undefined : { mountPoint: printable(mountPoint, 256), availableBytes: bavail * bsize };
    } catch {
      // Unmounted meanwhile, or stuck.
      return undefined;
    }
  }

  return async () => {
    const found: FreeSpace[] = [];
    for (const mountPoint of localMounts(await mounts().catch(() => ''))) {
      const space = await measure(mountPoint);
      if (space !== undefined) found.push(space);
    }
    return found;
  };
}

const limit = { seconds: statTimeoutSeconds, awaited: 'answer' };

/** Mount points, one for each device. */
function localMounts(text: string): readonly string[] {
  const byDevice = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [mount = '', fileSystem = ''] = line.split(' - ');
    const [, , device, , mountPoint] = mount.split(' ');
    const [type = ''] = fileSystem.split(' ');
    if (device === undefined || mountPoint === undefined || type === '' || remoteTypes.test(type)) continue;
    if (!byDevice.has(device)) byDevice.set(device, unescaped(mountPoint));
    if (byDevice.size === maxFileSystems) break;
  }
  return [...byDevice.values()];
}

/** Spaces and the like are written as octal numbers. */
function unescaped(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
