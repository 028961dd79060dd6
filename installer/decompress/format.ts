import { DecompressError } from './error.ts';

export type Format = 'bzip2' | 'gzip' | 'xz' | 'zstd' | 'raw';

/** Number of bytes at the beginning of a file that `formatOf` needs: the table is in them. */
export const magicBytes = 4096 + 8;

/** First bytes of the supported formats, in hexadecimal. */
const decoded: readonly (readonly [Format, RegExp])[] = [
  ['bzip2', /^425a683[1-9]/],
  ['gzip', /^1f8b/],
  ['xz', /^fd377a585a00/],
  // A zstd frame, or a skippable frame before it (RFC 8878, sections 3.1.1 and 3.1.2).
  ['zstd', /^(28b52ffd|5[0-9a-f]2a4d18)/],
];

const unpack = 'unpack it: an image is raw, or compressed with bzip2, gzip, xz or zstd';
const convert = 'convert it with qemu-img convert -O raw';

/** Containers that are no disk images: written to a disk as they are, they would not boot. */
const refused: readonly (readonly [string, RegExp, string])[] = [
  // With files, without, in parts.
  ['a zip archive', /^504b(0304|0506|0708)/, unpack],
  ['a 7z archive', /^377abcaf271c/, unpack],
  ['an lzip file', /^4c5a4950/, unpack],
  // Frames, and those of before 2013.
  ['an lz4 file', /^(04224d18|02214c18)/, unpack],
  ['a qcow2 image', /^514649fb/, convert],
  ['a VMDK image', /^4b444d56/, convert],
  ['a VHDX image', /^76686478/, convert],
  ['a VHD image', /^636f6e6563746978/, convert],
  ['a VDI image', /^.{128}7f10dabe/, convert],
  ['a tar archive', /^.{514}7573746172/, unpack],
  // Properties, a dictionary of at least 64 KiB, and an unknown size (`xz --format=lzma`) or one of
  // less than 1 TiB (LZMA SDK, lzma-specification.txt).
  ['an lzma file', /^5d0000[0-9a-f]{4}(f{16}|[0-9a-f]{10}0{6})/, unpack],
  ['an lzop file', /^894c5a4f000d0a1a/, unpack],
];

/** `EFI PART` in the second sector, of 512 or 4096 bytes. */
const partitionTable = /^(.{1024}|.{8192})4546492050415254/;

/**
 * Detects the format of a file by its first bytes, not by its name. Only brotli has no first bytes
 * of its own: a name that ends with `.br` counts where there is no partition table.
 * @param name path or URL
 * @throws {DecompressError} it is a container that is not a disk image
 */
export function formatOf(beginning: Uint8Array, name = ''): Format {
  const hex = Buffer.from(beginning.subarray(0, magicBytes)).toString('hex');
  const known = decoded.find(([, pattern]) => pattern.test(hex));
  if (known) return known[0];
  if (partitionTable.test(hex)) return 'raw';
  const [container, , hint] = refused.find(([, pattern]) => pattern.test(hex)) ?? [];
  if (container !== undefined && hint !== undefined) throw noImage(container, hint);
  if (/\.br([?#]|$)/i.test(name)) throw noImage('a brotli file by its name', unpack);
  return 'raw';
}

function noImage(container: string, hint: string): DecompressError {
  return new DecompressError(`it is ${container}, not a disk image`, { offsetBytes: 0, hint });
}
