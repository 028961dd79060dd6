/**
 * The thread that answers the requests of the kernel for the disks under test. It must not share
 * its event loop with anything: programs that wait for a disk would wait for themselves.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { CONTROL, type DiskEvent, type DiskOperation, type DiskSpecification, FAULTS } from './disk-protocol.ts';
import { type ErrorName, type ServedFile, serve } from './fuse.ts';

interface WorkerData {
  readonly device: number;
  readonly disks: readonly (DiskSpecification & { readonly memory: SharedArrayBuffer })[];
  readonly control: SharedArrayBuffer;
}

const faultErrors = { broken: 'EIO', full: 'ENOSPC', removed: 'EIO' } as const;

const { device, disks, control } = workerData as WorkerData;
const registers = new Int32Array(control);

serve(
  device,
  disks.map(({ name, sizeBytes, memory }, index) => serveDisk(name, sizeBytes, new Uint8Array(memory), index)),
  () => {},
);
post({ kind: 'end' });

function serveDisk(name: string, sizeBytes: number, content: Uint8Array, index: number): ServedFile {
  return {
    name,
    sizeBytes,
    read(offset, into) {
      if (isTarget(index) && isGone()) return 'EIO';
      into.set(content.subarray(offset, offset + into.length));
      return undefined;
    },
    write(bytes, offset) {
      return carryOut(index, { kind: 'write', offsetBytes: offset, bytes: new Uint8Array(bytes) }, () =>
        content.set(bytes, offset),
      );
    },
    zero(offset, length) {
      return carryOut(index, { kind: 'zero', offsetBytes: offset, lengthBytes: length }, () =>
        content.fill(0, offset, offset + length),
      );
    },
    flush() {
      return carryOut(index, { kind: 'flush' }, () => {});
    },
  };
}

function carryOut(disk: number, operation: DiskOperation, action: () => void): ErrorName | undefined {
  if (!isTarget(disk)) {
    action();
    post({ kind: 'operation', disk, operation, failed: false });
    return undefined;
  }
  const number = Atomics.add(registers, CONTROL.count, 1);
  const error = faultOf(number, operation);
  if (error === undefined) action();
  post({ kind: 'operation', disk, operation, failed: error !== undefined });
  return error;
}

/** @returns the error that the operation of this number gets */
function faultOf(number: number, { kind }: DiskOperation): ErrorName | undefined {
  const fault = FAULTS[Atomics.load(registers, CONTROL.fault)];
  const [at, size] = [Atomics.load(registers, CONTROL.at), Atomics.load(registers, CONTROL.size)];
  if (fault === undefined || fault === 'none' || number < at) return undefined;
  if (fault === 'stop') {
    if (number > at) return undefined;
    Atomics.store(registers, CONTROL.isStopped, 1);
    post({ kind: 'stopped' });
    Atomics.wait(registers, CONTROL.isStopped, 1);
    return undefined;
  }
  if (fault === 'slow') {
    Atomics.wait(registers, CONTROL.never, 0, size);
    return undefined;
  }
  // A full thin device can still do what needs no room.
  if (fault === 'full' && kind === 'flush') return undefined;
  if (number >= at + size) return undefined;
  return faultErrors[fault];
}

/** A disk that was removed answers nothing; one that has failed may still be read. */
function isGone(): boolean {
  return (
    FAULTS[Atomics.load(registers, CONTROL.fault)] === 'removed' &&
    Atomics.load(registers, CONTROL.count) > Atomics.load(registers, CONTROL.at)
  );
}

function isTarget(disk: number): boolean {
  return Atomics.load(registers, CONTROL.target) === disk;
}

function post(event: DiskEvent): void {
  Atomics.add(registers, CONTROL.posted, 1);
  parentPort?.postMessage(event);
}
