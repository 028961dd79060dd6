import { InstallError } from '../errors.ts';

/**
 * A compressed image that cannot be decoded: it is damaged, truncated, or of an unsupported format.
 */
export class DecompressError extends InstallError {
  override readonly name: string = 'DecompressError';
  /**
   * Offset in the compressed file of the block or header that cannot be decoded, if the format
   * shows it.
   */
  readonly offsetBytes: number | undefined;

  constructor(message: string, options: { offsetBytes?: number; cause?: unknown } = {}) {
    super({
      what: 'decode',
      target: 'the image',
      why: message.replace(/^cannot decode the image: /, ''),
      cause: options.cause,
    });
    this.offsetBytes = options.offsetBytes;
  }
}

/** @param offsetBytes where in the file reading ended */
export function damaged(format: string, why: string, offsetBytes: number, cause?: Error): DecompressError {
  return new DecompressError(
    `cannot decode the image: the ${format} data before byte ${offsetBytes} is invalid: ${why}`,
    { offsetBytes, cause },
  );
}
