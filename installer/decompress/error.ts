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

  /** @param why what is wrong with the image, with or without what the message begins with */
  constructor(why: string, options: { offsetBytes?: number; hint?: string; cause?: unknown } = {}) {
    const { hint, cause } = options;
    super({ what: 'decode', target: 'the image', why: why.replace(/^cannot decode the image: /, ''), hint, cause });
    this.offsetBytes = options.offsetBytes;
  }
}

export const hintOfDamage = 'get the image again, or compare it with its checksum';

/** @param offsetBytes where in the file reading ended */
export function damaged(format: string, why: string, offsetBytes: number): DecompressError {
  const said = `the ${format} data before byte ${offsetBytes} is invalid: ${why}`;
  return new DecompressError(said, { offsetBytes, hint: hintOfDamage });
}
