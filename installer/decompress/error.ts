/** A compressed image that cannot be decoded: it is damaged, cut short, or of a format that is not read. */
export class DecompressError extends Error {
  override readonly name = 'DecompressError';
  /** Byte of the compressed file where the undecodable part (a block, a header) begins, where the format tells. */
  readonly offsetBytes: number | undefined;

  constructor(message: string, options: { offsetBytes?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.offsetBytes = options.offsetBytes;
  }
}
