import { OperationError, type Problem } from '../../errors/operation-error.ts';

/** What callers distinguish of an engine's failures. */
export type EngineFailure =
  /** It does not answer, or not yet: the request may be made again. */
  | 'unavailable'
  | 'no-such-container'
  /** Another container has the name. */
  | 'name-taken'
  /** The container has exited already. */
  | 'not-running'
  /** Another request removes the container. */
  | 'being-removed'
  /** Anything else: the request cannot be carried out as it is. */
  | 'refused';

/** A request that an engine did not carry out. `why` is the engine's reason in plain words. */
export class EngineError extends OperationError {
  override readonly name = 'EngineError';
  readonly reason: EngineFailure;

  constructor(reason: EngineFailure, problem: Problem) {
    super(problem);
    this.reason = reason;
  }
}

/** Whether an error is an engine's, for one of some reasons; without reasons: for any. */
export function isEngineError(error: unknown, ...reasons: readonly EngineFailure[]): error is EngineError {
  return error instanceof EngineError && (reasons.length === 0 || reasons.includes(error.reason));
}
