import type { TinkEvent } from '../sandbox/tink-server/server.ts';
import type { DemoResult, DiskResult, Size } from './scenario.ts';
import { table } from './table.ts';

/** The events as `tink workflow events` printed them. */
export function showEvents(events: readonly TinkEvent[]): string {
  const rows = events.map((event) => [
    event.workerId,
    event.taskName,
    event.actionName,
    event.seconds.toString(),
    event.message,
    event.status,
  ]);
  return `\n${table(['WORKER ID', 'TASK NAME', 'ACTION NAME', 'EXECUTION TIME', 'MESSAGE', 'ACTION STATUS'], rows)}`;
}

export function showDisks(disks: readonly DiskResult[]): string {
  const rows = disks.map((disk) => [
    disk.serial,
    disk.sizeBytes.toString(),
    disk.role,
    disk.chosen ? 'installed to' : 'untouched',
    disk.bytesWritten.toString(),
    disk.checksumBefore.slice(0, 12),
    disk.checksumAfter.slice(0, 12),
  ]);
  return `\n${table(['DISK', 'BYTES', 'ROLE', 'OUTCOME', 'BYTES WRITTEN', 'SHA-256 BEFORE', 'SHA-256 AFTER'], rows)}`;
}

export function showPhases(result: DemoResult): string {
  const rows = result.phases.map((phase) => [phase.name, phase.ok ? 'ok' : 'FAILED', phase.seconds.toFixed(1)]);
  return `\n${table(['PHASE', 'RESULT', 'SECONDS'], [...rows, ['all', result.error === undefined ? 'ok' : 'FAILED', result.seconds.toFixed(1)]])}`;
}

export function showSizes(sizes: readonly Size[]): string {
  const rows = sizes.map(({ what, bytes }) => [what, bytes.toString(), (bytes / 2 ** 20).toFixed(1)]);
  return `\n${table(['SIZE OF', 'BYTES', 'MiB'], rows)}`;
}
