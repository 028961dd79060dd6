/** The file on the server is not the one whose first part was read. Start over. */
export class FileChangedError extends Error {
  override readonly name = 'FileChangedError';
  /** The server that has the other state of the file: where to start over. */
  readonly url: URL;

  constructor(message: string, url: URL) {
    super(message);
    this.url = url;
  }
}

/** The server does not have the file, or not in a usable form. */
export class NotFoundError extends Error {
  override readonly name = 'NotFoundError';
}

/** The server responded with a status that another attempt may not get. */
export class TransientStatusError extends Error {
  override readonly name = 'TransientStatusError';
}

/** The body ended before its announced end, or is not the requested part of the file. */
export class TruncatedError extends Error {
  override readonly name = 'TruncatedError';
}

/** Too many failures in a row. */
export class RetriesExhaustedError extends Error {
  override readonly name = 'RetriesExhaustedError';
}

/** Why one of several mirrors is not asked any more. */
export interface MirrorFailure {
  readonly url: URL;
  readonly error: Error;
}

/** None of several mirrors is left to ask; `message` says why for each. */
export class NoMirrorLeftError extends Error {
  override readonly name = 'NoMirrorLeftError';
  readonly failures: readonly MirrorFailure[];

  constructor(failures: readonly MirrorFailure[]) {
    super(failures.map(({ url, error }) => `${url.href}: ${error.message}`).join('; '), {
      cause: failures.at(-1)?.error,
    });
    this.failures = failures;
  }
}

/** Whether every server was asked and none has the file. */
export function isNotFoundAnywhere(error: unknown): boolean {
  if (error instanceof NoMirrorLeftError)
    return error.failures.every((failure) => failure.error instanceof NotFoundError);
  return error instanceof NotFoundError;
}
