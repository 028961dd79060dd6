import { createHash } from 'node:crypto';
import type { Container, Process } from '../../../proto/containerd.pb.ts';
import { TaskStatus } from '../../../proto/containerd.pb.ts';
import type { ContainerState } from '../engine-api.ts';

/**
 * What Docker remembers of a container and containerd does not is in labels of the container: they outlive us and a restart of containerd, and the machine
 * where containerd's root is on a disk.
 */
export const notes = {
  name: 'nibs.name',
  hostname: 'nibs.hostname',
  /** `host`, `none` or `cni`. */
  network: 'nibs.network',
  stopSignal: 'nibs.stop-signal',
  /** When, as RFC 3339 has it. */
  started: 'nibs.started',
  exited: 'nibs.exited',
  exitCode: 'nibs.exit-code',
  outOfMemory: 'nibs.out-of-memory',
} as const;

const never = '0001-01-01T00:00:00Z';

/**
 * The id of the container with a name: a request that is made again finds what its predecessor has made. It is the name itself where containerd allows that as
 * an identifier, so that `ctr` and `nerdctl` find the container by it.
 */
export function idOf(name: string): string {
  const isIdentifier = name.length <= 76 && /^[A-Za-z0-9]+(?:[-._][A-Za-z0-9]+)*$/.test(name);
  return isIdentifier ? name : createHash('sha256').update(name).digest('hex');
}

/** How a container ended. */
export interface Exit {
  readonly exitCode: number;
  readonly exitedAt: Date;
  readonly outOfMemory: boolean;
}

export function exitNotes({ exitCode, exitedAt, outOfMemory }: Exit): Record<string, string> {
  return {
    [notes.exitCode]: String(exitCode),
    [notes.exited]: exitedAt.toISOString(),
    [notes.outOfMemory]: String(outOfMemory),
  };
}

/**
 * @param process the container's first one; `undefined`: there is none, not even an ended one
 * @param now stands for the end where nobody knows it
 */
export function stateOf(container: Container, process: Process | undefined, now: Date): ContainerState {
  const { labels } = container;
  const started = labels[notes.started] ?? (wasStarted(process) ? container.createdAt?.toISOString() : undefined);
  const running = { Running: false, ExitCode: 0, OOMKilled: false, Error: '', StartedAt: started ?? never };
  const exitCode = labels[notes.exitCode];
  if (exitCode !== undefined) {
    return {
      ...running,
      ExitCode: Number(exitCode),
      OOMKilled: labels[notes.outOfMemory] === 'true',
      FinishedAt: labels[notes.exited] ?? never,
    };
  }
  if (started === undefined) return { ...running, FinishedAt: never };
  if (process === undefined) return { ...running, ...lost, FinishedAt: now.toISOString() };
  if (process.status !== TaskStatus.STOPPED) return { ...running, Running: true, FinishedAt: never };
  return { ...running, ExitCode: process.exitStatus, FinishedAt: (process.exitedAt ?? now).toISOString() };
}

/** After a power failure, or when somebody else has cleared up. */
const lost = { ExitCode: 255, Error: 'its process is gone, and how it ended is not known' };

/** In the words of the Docker API's list. */
export function statusOf(container: Container, process: Process | undefined, now: Date): string {
  const { Running, StartedAt } = stateOf(container, process, now);
  if (StartedAt === never) return 'created';
  return Running ? 'running' : 'exited';
}

function wasStarted(process: Process | undefined): boolean {
  return process !== undefined && process.status !== TaskStatus.CREATED && process.status !== TaskStatus.UNKNOWN;
}
