import { createHash } from 'node:crypto';
import type { Container, Process } from '../../../proto/containerd.pb.ts';
import { TaskStatus } from '../../../proto/containerd.pb.ts';
import type { ContainerState } from '../container-state.ts';

/**
 * Keys of a container's labels. They hold what containerd itself does not store of a container.
 * They outlive this process and a restart of containerd, and a reboot if containerd's root is on a
 * disk.
 */
export const labelKeys = {
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

/**
 * The id of the container with a name: a request that is made again finds what its predecessor has
 * made. It is the name itself where containerd allows that as an identifier, so that `ctr` and
 * `nerdctl` find the container by it.
 */
export function idOf(name: string): string {
  const isIdentifier = name.length <= 76 && /^[A-Za-z0-9]+(?:[-._][A-Za-z0-9]+)*$/.test(name);
  return isIdentifier ? name : createHash('sha256').update(name).digest('hex');
}

/** How a container exited. */
export interface Exit {
  readonly exitCode: number;
  readonly exitedAt: Date;
  readonly outOfMemory: boolean;
}

/** Labels that store an exit. */
export function exitLabels({ exitCode, exitedAt, outOfMemory }: Exit): Record<string, string> {
  return {
    [labelKeys.exitCode]: String(exitCode),
    [labelKeys.exited]: exitedAt.toISOString(),
    [labelKeys.outOfMemory]: String(outOfMemory),
  };
}

/**
 * @param process the container's first one; `undefined`: there is none, not even one that has
 * exited
 * @param now stands for times that are not known
 */
export function stateOf(container: Container, process: Process | undefined, now: Date): ContainerState {
  const { labels, createdAt = now } = container;
  const started = labels[labelKeys.started];
  const exitCode = labels[labelKeys.exitCode];
  const startedAt = started === undefined ? createdAt : new Date(started);
  if (exitCode !== undefined) {
    const exited = labels[labelKeys.exited];
    return {
      ...{ status: 'exited', startedAt, error: '' },
      exitCode: Number(exitCode),
      exitedAt: exited === undefined ? now : new Date(exited),
      outOfMemory: labels[labelKeys.outOfMemory] === 'true',
    };
  }
  if (started === undefined && !wasStarted(process)) return { status: 'created' };
  if (process === undefined) return { status: 'exited', startedAt, exitedAt: now, outOfMemory: false, ...lost };
  if (process.status !== TaskStatus.STOPPED) return { status: 'running', startedAt };
  const { exitStatus, exitedAt = now } = process;
  return { status: 'exited', startedAt, exitedAt, exitCode: exitStatus, outOfMemory: false, error: '' };
}

/** After a power failure, or when another program has cleaned up. */
const lost = { exitCode: 255, error: 'its process is gone and its exit status is unknown' };

function wasStarted(process: Process | undefined): boolean {
  return process !== undefined && process.status !== TaskStatus.CREATED && process.status !== TaskStatus.UNKNOWN;
}
