import { type ServiceError, status } from '@grpc/grpc-js';
import { plainDetails } from './plain-details.ts';

/**
 * A call ended with another status than OK. The message is status and details, without the method.
 */
export class GrpcError extends Error {
  override readonly name = 'GrpcError';
  readonly code: status;
  /** Reason from the server or the connection, on one line. */
  readonly details: string;

  constructor(code: status, details: string, options?: ErrorOptions) {
    super(`${status[code]}: ${details}`, options);
    this.code = code;
    this.details = details;
  }
}

/** @returns the error as it is if it is not one of gRPC */
export function toGrpcError(error: unknown): unknown {
  if (!isServiceError(error)) return error;
  const details = plainDetails(error.details);
  // The same text as in our message: a printer of causes leaves out one that repeats the message.
  error.message = `${error.code} ${status[error.code]}: ${details}`;
  return new GrpcError(error.code, details, { cause: error });
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && 'details' in error && 'metadata' in error;
}
