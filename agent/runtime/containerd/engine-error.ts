import type { status } from '@grpc/grpc-js';
import { OperationError } from '../../../errors/operation-error.ts';
import { GrpcError } from '../../../net/grpc/grpc-error.ts';
import { EngineError, type EngineFailure } from '../engine-error.ts';
import { innermostReason } from '../innermost-reason.ts';
import { PullError } from '../pull-error.ts';
import { isUnavailable, plainReasonOf } from './client.ts';

/** What a request does, and to what, for messages. */
export interface Operation {
  readonly what: string;
  readonly target: string;
  /**
   * What codes of containerd mean for this request. Default for those that are missing: `refused`.
   */
  readonly meanings?: Partial<Readonly<Record<status, EngineFailure>>>;
}

/**
 * Carries out a request.
 * @throws {EngineError}; what else the work throws, if that is no failure of the engine, its
 * networks or its files
 */
export async function request<Result>(operation: Operation, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw toEngineError(operation, error);
  }
}

/** Trouble with our own files and programs does not mean that containerd is unavailable. */
function toEngineError({ what, target, meanings = {} }: Operation, error: unknown): unknown {
  if (error instanceof EngineError || error instanceof PullError) return error;
  if (error instanceof GrpcError) {
    const reason = isUnavailable(error) ? 'unavailable' : (meanings[error.code] ?? 'refused');
    return new EngineError(reason, { what, target, why: innermostReason(plainReasonOf(error)), cause: error });
  }
  if (!(error instanceof OperationError)) return error;
  return new EngineError('refused', { what, target, why: error.message, cause: error });
}
