import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { execa } from 'execa';
import { forgetPartitions } from '../../sandbox/loop-device.ts';
import { CONTROL, type DiskEvent, type DiskFaultKind, type DiskOperation, FAULTS } from './disk-protocol.ts';

export interface DiskFault {
  readonly kind: DiskFaultKind;
  /** Number of the first operation that it is about; the first is 0. */
  readonly at: number;
  /** How many operations it is about; for `slow`, milliseconds. Default: all that follow. */
  readonly size?: number;
}

/** A block device of the kernel whose content and requests the test has. */
export interface Disk {
  readonly path: string;
  readonly sizeBytes: number;
  /** As the kernel would read it now. */
  readonly content: Uint8Array;
}

/** The disks of a machine. One of them at a time is the target, which can fail. */
export interface Disks extends AsyncDisposable {
  readonly disks: readonly Disk[];
  /**
   * Begins a cell: forgets all operations and faults.
   * @param target index of the disk that gets the fault
   */
  begin(target: number, fault?: DiskFault): void;
  /** The target works again; an operation that was stopped goes on. */
  repair(): void;
  /** Resolves when the fault `stop` is reached. */
  readonly stopped: Promise<void>;
  /** What the disks have got since `begin`, in order; without those that failed. */
  operations(): Promise<readonly (readonly [disk: number, operation: DiskOperation])[]>;
}

/**
 * Makes loop devices on files of {@link ./fuse.ts}. Needs root and /dev/fuse.
 * @param sizesBytes one for each disk
 */
export async function createDisks(sizesBytes: readonly number[]): Promise<Disks> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-disks-'));
  const device = openSync('/dev/fuse', 'r+');
  const options = `fd=3,rootmode=40000,user_id=0,group_id=0`;
  const mount = spawn('mount', ['--internal-only', '-t', 'fuse', '-o', options, 'nibs-disks', directory], {
    stdio: ['ignore', 'ignore', 'inherit', device],
  });
  const [exitCode] = await once(mount, 'exit');
  if (exitCode !== 0) throw new Error('the file system of the disks could not be mounted');
  const control = new SharedArrayBuffer(CONTROL.length * 4);
  const registers = new Int32Array(control);
  registers[CONTROL.target] = -1;
  const specifications = sizesBytes.map((sizeBytes, index) => ({
    ...{ name: `disk-${index}`, sizeBytes },
    memory: new SharedArrayBuffer(sizeBytes),
  }));
  const worker = new Worker(join(import.meta.dirname, 'disk-worker.ts'), {
    workerData: { device, disks: specifications, control },
  });
  const ended = new Promise<void>((resolve, reject) => {
    worker.once('exit', () => resolve());
    worker.once('error', reject);
  });
  let operations: (readonly [number, DiskOperation])[] = [];
  let stop = Promise.withResolvers<void>();
  let received = 0;
  let onEvent = () => {};
  worker.on('message', (event: DiskEvent) => {
    received += 1;
    if (event.kind === 'stopped') stop.resolve();
    if (event.kind === 'operation' && !event.failed) operations.push([event.disk, event.operation]);
    onEvent();
  });
  const repair = () => {
    Atomics.store(registers, CONTROL.fault, FAULTS.indexOf('none'));
    Atomics.store(registers, CONTROL.isStopped, 0);
    Atomics.notify(registers, CONTROL.isStopped);
  };
  const disks = await Promise.all(
    specifications.map(async ({ name, sizeBytes, memory }) => {
      const { stdout: path } = await execa('losetup', ['--find', '--show', join(directory, name)]);
      return { path, sizeBytes, content: new Uint8Array(memory) };
    }),
  );
  return {
    disks,
    begin(target, fault) {
      repair();
      operations = [];
      stop = Promise.withResolvers<void>();
      Atomics.store(registers, CONTROL.target, target);
      Atomics.store(registers, CONTROL.count, 0);
      if (fault === undefined) return;
      Atomics.store(registers, CONTROL.at, fault.at);
      Atomics.store(registers, CONTROL.size, fault.size ?? 2 ** 30);
      Atomics.store(registers, CONTROL.fault, FAULTS.indexOf(fault.kind));
    },
    repair,
    get stopped() {
      return stop.promise;
    },
    async operations() {
      const all = Promise.withResolvers<void>();
      onEvent = () => {
        if (received === Atomics.load(registers, CONTROL.posted)) all.resolve();
      };
      onEvent();
      await all.promise;
      onEvent = () => {};
      return operations;
    },
    async [Symbol.asyncDispose]() {
      repair();
      for (const { path } of disks) {
        await forgetPartitions(path);
        await execa('losetup', ['--detach', path]);
      }
      // A mount that a killed run has left would keep the file system.
      await execa('umount', ['--force', '--lazy', directory]);
      await ended;
      closeSync(device);
      await rmdir(directory);
    },
  };
}
