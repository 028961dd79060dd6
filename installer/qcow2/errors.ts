import { DecompressError } from '../decompress/error.ts';

/** The image contradicts itself, or ends too early. */
export function damaged(why: string, offsetBytes: number): DecompressError {
  return new DecompressError(`the qcow2 image is damaged: ${why}`, { offsetBytes });
}

/** The image is valid, and is refused. */
export function unsupported(why: string): DecompressError {
  return new DecompressError(why, { offsetBytes: 0 });
}
