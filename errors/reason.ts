import { withoutNodeAdvice } from './node-advice.ts';

/** What a thrown value says by itself: for the `why` of an error that has it as its cause. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // An attempt to connect to several addresses has a reason for each of them, and no message of its
  // own.
  if (error instanceof AggregateError && error.message === '') return error.errors.map(reasonOf).join('; ');
  return withoutNodeAdvice(error.message) || error.name;
}
