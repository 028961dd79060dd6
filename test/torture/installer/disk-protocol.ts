/** What the test and the thread with the disks tell each other. */

export interface DiskSpecification {
  readonly name: string;
  readonly sizeBytes: number;
}

/** What changes a disk, or makes its changes durable. */
export type DiskOperation =
  | { readonly kind: 'write'; readonly offsetBytes: number; readonly bytes: Uint8Array }
  | { readonly kind: 'zero'; readonly offsetBytes: number; readonly lengthBytes: number }
  | { readonly kind: 'flush' };

export type DiskEvent =
  | {
      readonly kind: 'operation';
      /** Index of the disk. */
      readonly disk: number;
      readonly operation: DiskOperation;
      /** It got an error and changed nothing. */
      readonly failed: boolean;
    }
  /** The fault `stop` is reached: the operation is carried out when it may go on. */
  | { readonly kind: 'stopped' }
  /** The file system was unmounted. */
  | { readonly kind: 'end' };

export const FAULTS = ['none', 'stop', 'slow', 'broken', 'full', 'removed'] as const;

/** What is wrong with the target, from an operation on. */
export type DiskFaultKind = (typeof FAULTS)[number];

/** Registers of 32 bits in the memory that both share. */
export const CONTROL = {
  /** Index of the disk that gets the faults. */
  target: 0,
  /** How many operations the target has had. */
  count: 1,
  /** Index in {@link FAULTS}. */
  fault: 2,
  /** Number of the first operation that it is about. */
  at: 3,
  /** How many operations it is about; for `slow`, milliseconds. */
  size: 4,
  isStopped: 5,
  /** Always 0: to wait on. */
  never: 6,
  /** How many events were posted. */
  posted: 7,
  length: 8,
} as const;
