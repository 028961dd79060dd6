import { createHash } from 'node:crypto';
import type { Architecture } from '../../debian/architecture.ts';
import { compressedCpio } from '../compressed-cpio.ts';
import { Tree } from '../tree.ts';
import { addCertificates } from './certificates.ts';
import { type AddedImage, addImages } from './images.ts';
import { addRootFiles } from './root-files.ts';

/** What a site adds to the boot image. */
export interface AdditionOptions {
  /** Directories of files for the root. A file of a later one replaces that of an earlier one. */
  readonly files: readonly string[];
  /** Files with certificates of authorities, PEM. */
  readonly certificates: readonly string[];
  /** Archives of container images: `file` or `name:tag=file`. */
  readonly images: readonly string[];
}

/** The command-line options that {@link AdditionOptions} are read from (`parseArgs`). */
export const additionArguments = {
  files: { type: 'string', multiple: true, default: [] as string[] },
  certificate: { type: 'string', multiple: true, default: [] as string[] },
  image: { type: 'string', multiple: true, default: [] as string[] },
} as const;

/** The values of {@link additionArguments}. */
export interface AdditionValues {
  readonly files: readonly string[];
  readonly certificate: readonly string[];
  readonly image: readonly string[];
}

/** @returns `undefined`: nothing is added */
export function additionOptions({ files, certificate, image }: AdditionValues): AdditionOptions | undefined {
  const options = { files, certificates: certificate, images: image };
  return Object.values(options).every((list) => list.length === 0) ? undefined : options;
}

/** A part of an initramfs with what a site adds. */
export interface Additions {
  /** Its files, all below `site/`. */
  readonly tree: Tree;
  /** What was added, for the manifest. */
  readonly manifest: {
    /** SHA-256 of each file, by its path in the initramfs. */
    readonly files: Readonly<Record<string, string>>;
    readonly images: readonly AddedImage[];
  };
}

/**
 * Reads and checks what a site adds.
 * @throws {OperationError} some of it cannot be used
 */
export async function readAdditions(
  { files, certificates, images }: AdditionOptions,
  architecture: Architecture,
): Promise<Additions> {
  const tree = new Tree();
  for (const directory of files) await addRootFiles(tree, directory);
  for (const path of certificates) await addCertificates(tree, path);
  const addedImages = [];
  for (const given of images) addedImages.push(...(await addImages(tree, given, architecture)));
  return { tree, manifest: { files: checksums(tree), images: addedImages } };
}

/** An archive that the kernel unpacks after those of the boot image. */
export async function packAdditions(tree: Tree, timeSeconds: number): Promise<Uint8Array> {
  // Images are large and mostly compressed: higher levels take minutes for some percent.
  return await compressedCpio(tree, timeSeconds, 9);
}

function checksums(tree: Tree): Record<string, string> {
  const found = tree.entries.flatMap(([path, entry]) =>
    entry.kind === 'file' ? [[path, createHash('sha256').update(entry.content).digest('hex')] as const] : [],
  );
  return Object.fromEntries(found);
}
