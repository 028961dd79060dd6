import { printable, printableLines } from '../text/printable.ts';

/**
 * Parts of a failure, worded so that `cannot {what} {target}: {why} ({hint})` reads as a sentence.
 */
export interface Problem {
  /** What was being done, in the infinitive: `install to`, `download`. */
  readonly what: string;
  /** What it was done to: a device, a URL, a file. */
  readonly target: string;
  readonly why: string;
  /** What the person can do about it. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/**
 * A failure that a person should read. `message` is complete in itself; `cause` keeps what was
 * underneath. Target and reason may come from outside: they have no control characters, and
 * only the reason has several lines.
 */
export class OperationError extends Error {
  override readonly name: string = 'OperationError';
  readonly what: string;
  readonly target: string;
  readonly why: string;
  readonly hint: string | undefined;

  constructor(problem: Problem) {
    const hint = problem.hint === undefined ? '' : ` (${problem.hint})`;
    const [target, why] = [printable(problem.target), printableLines(problem.why)];
    super(`cannot ${problem.what} ${target}: ${why}${hint}`, { cause: problem.cause });
    this.what = problem.what;
    this.target = target;
    this.why = why;
    this.hint = problem.hint;
  }
}
