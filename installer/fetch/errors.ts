/** The file on the server is not the one whose first part was read: what was read is worthless, start over. */
export class FileChanged extends Error {
  override readonly name = 'FileChanged';
  /** Who has the other state of the file: where to start over. */
  readonly url: URL;

  constructor(message: string, url: URL) {
    super(message);
    this.url = url;
  }
}

/** The server has the file no longer, or never had it. */
export class NotAvailable extends Error {
  override readonly name = 'NotAvailable';
}

/** The answer was a status that may be another one in a moment. */
export class PassingStatus extends Error {
  override readonly name = 'PassingStatus';
}

/** The connection ended before the announced end of the body. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/** Too many failures in a row. */
export class TriesExhausted extends Error {
  override readonly name = 'TriesExhausted';
}

/** What became of one of several mirrors. */
export interface MirrorFailure {
  readonly url: URL;
  readonly error: Error;
}

/** None of several mirrors is left to ask; `message` says why for each. */
export class NoMirrorLeft extends Error {
  override readonly name = 'NoMirrorLeft';
  readonly failures: readonly MirrorFailure[];

  constructor(failures: readonly MirrorFailure[]) {
    super(failures.map(({ url, error }) => `${url.href}: ${error.message}`).join('; '), {
      cause: failures.at(-1)?.error,
    });
    this.failures = failures;
  }
}

/** Whether the file does not exist anywhere, as opposed to places that could not be asked. */
export function isNowhere(error: unknown): boolean {
  if (error instanceof NoMirrorLeft) return error.failures.every((failure) => failure.error instanceof NotAvailable);
  return error instanceof NotAvailable;
}
