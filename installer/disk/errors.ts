import type { Problem } from '../../errors/operation-error.ts';
import { InstallError } from '../errors.ts';

/** The disk cannot be used: it is not a disk, is in use, too small, or its hardware failed. */
export class DiskError extends InstallError {
  override readonly name: string = 'DiskError';
}

/** Writing did not complete, and the disk was left without a partition table; `message` says so. */
export class IncompleteWriteError extends DiskError {
  override readonly name: string = 'IncompleteWriteError';
  /** False only if the table could not be removed either. */
  readonly tableRemoved: boolean;

  /** @param saved the disk has a table with only the saved partitions */
  constructor(problem: Problem, tableRemoved: boolean, saved = false) {
    const left = saved ? 'with only the saved partitions' : 'without a partition table';
    const state = tableRemoved
      ? `the disk was left ${left} and will not boot`
      : 'the partition table could not be removed either; do not boot from this disk';
    super({ ...problem, why: `${problem.why}; ${state}` });
    this.tableRemoved = tableRemoved;
  }
}
