import type { status } from '@grpc/grpc-js';

/** The status other than OK with which the server ends a call. */
export class RpcFailure extends Error {
  override readonly name = 'RpcFailure';
  readonly code: status;

  constructor(code: status, details: string) {
    super(details);
    this.code = code;
  }
}

/** What kills the whole server process, as a Go panic does. */
export class ServerPanic extends Error {
  override readonly name = 'ServerPanic';
}
