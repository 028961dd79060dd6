import type { Problem } from '../../errors/operation-error.ts';
import { InstallError } from '../errors.ts';

/** The disk itself does not allow what was asked: it is not a disk, is in use, too small, or its hardware failed. */
export class DiskError extends InstallError {
  override readonly name: string = 'DiskError';
}

/** The disk was left without a partition table because writing it did not come to its end; `message` says so. */
export class IncompleteWriteError extends DiskError {
  override readonly name: string = 'IncompleteWriteError';
  /** False only where the disk failed so badly that the table could not be removed either. */
  readonly tableRemoved: boolean;

  /** @param saved the disk has a table of nothing but partitions that were to be kept */
  constructor(problem: Problem, tableRemoved: boolean, saved = false) {
    const left = saved ? 'with no partitions but the saved ones' : 'without a partition table';
    const state = tableRemoved
      ? `the disk was left ${left}, it will not boot`
      : 'the partition table could not be removed either, do not boot from this disk';
    super({ ...problem, why: `${problem.why}; ${state}` });
    this.tableRemoved = tableRemoved;
  }
}
