import { DecompressError } from './error.ts';

export type Format = 'bzip2' | 'gzip' | 'xz' | 'zstd' | 'raw';

/** Number of bytes at the beginning of a file that `formatOf` needs: for that of tar. */
export const magicBytes = 262;

/** First bytes of the supported formats, in hexadecimal. */
const decoded: readonly (readonly [Format, RegExp])[] = [
  ['bzip2', /^425a683[1-9]/],
  ['gzip', /^1f8b/],
  ['xz', /^fd377a585a00/],
  // A zstd frame, or a skippable frame before it (RFC 8878, sections 3.1.1 and 3.1.2).
  ['zstd', /^(28b52ffd|5[0-9a-f]2a4d18)/],
];

/** Containers that are no disk images: written to a disk as they are, they would not boot. */
const refused: readonly (readonly [string, RegExp])[] = [
  ['a zip archive', /^504b0304/],
  ['a 7z archive', /^377abcaf271c/],
  ['an lzip file', /^4c5a4950/],
  ['an lz4 file', /^04224d18/],
  ['a qcow2 image', /^514649fb/],
  ['a VMDK image', /^4b444d56/],
  ['a VHDX image', /^76686478/],
  ['a VHD image', /^636f6e6563746978/],
  ['a VDI image', /^.{128}7f10dabe/],
  ['a tar archive', /^.{514}7573746172/],
  // Properties, a dictionary of a power of 2, and an unknown size: what `lzma` and `xz
  // --format=lzma` write (LZMA SDK, lzma-specification.txt).
  ['an lzma file', /^5d0000(?:[0-9a-f]{2}){2}ffffffffffffffff/],
  ['an lzop file', /^894c5a4f000d0a1a/],
];

/**
 * Detects the format of a file by its first bytes, not by its name.
 * @throws {DecompressError} they are those of a container that is not a disk image
 */
export function formatOf(beginning: Uint8Array): Format {
  const hex = Buffer.from(beginning.subarray(0, magicBytes)).toString('hex');
  const known = decoded.find(([, pattern]) => pattern.test(hex));
  if (known) return known[0];
  const foreign = refused.find(([, pattern]) => pattern.test(hex));
  if (foreign) {
    throw new DecompressError(
      `cannot decode the image: it is ${foreign[0]}, not a disk image (raw, or compressed with bzip2, gzip, xz or zstd)`,
      { offsetBytes: 0 },
    );
  }
  return 'raw';
}
