import { createHash } from 'node:crypto';
import { compressedCpio } from '../compressed-cpio.ts';
import { Tree } from '../tree.ts';
import { addCertificates } from './certificates.ts';
import { addRootFiles } from './root-files.ts';

/** What a site adds to the boot image. */
export interface AdditionOptions {
  /** Directories of files for the root. A file of a later one replaces that of an earlier one. */
  readonly files: readonly string[];
  /** Files with certificates of authorities, PEM. */
  readonly certificates: readonly string[];
}

/** The command-line options that {@link AdditionOptions} are read from (`parseArgs`). */
export const additionArguments = {
  files: { type: 'string', multiple: true, default: [] as string[] },
  certificate: { type: 'string', multiple: true, default: [] as string[] },
} as const;

/** The values of {@link additionArguments}. */
export interface AdditionValues {
  readonly files: readonly string[];
  readonly certificate: readonly string[];
}

/** @returns `undefined`: nothing is added */
export function additionOptions({ files, certificate }: AdditionValues): AdditionOptions | undefined {
  const options = { files, certificates: certificate };
  return Object.values(options).every((list) => list.length === 0) ? undefined : options;
}

/** A part of an initramfs with what a site adds. */
export interface Additions {
  /** Its files, all below `site/`. */
  readonly tree: Tree;
  /** For the manifest: what was added. */
  readonly manifest: { readonly files: Readonly<Record<string, string>> };
}

/**
 * Reads and checks what a site adds.
 * @throws {OperationError} some of it cannot be used
 */
export async function readAdditions({ files, certificates }: AdditionOptions): Promise<Additions> {
  const tree = new Tree();
  for (const directory of files) await addRootFiles(tree, directory);
  for (const path of certificates) await addCertificates(tree, path);
  return { tree, manifest: { files: checksums(tree) } };
}

/** An archive that the kernel unpacks after those of the boot image. */
export async function packAdditions(tree: Tree, timeSeconds: number): Promise<Uint8Array> {
  // Images are large and mostly compressed: higher levels take minutes for some percent.
  return await compressedCpio(tree, timeSeconds, 9);
}

/** SHA-256 of each file, by its path in the initramfs. */
function checksums(tree: Tree): Record<string, string> {
  const found = tree.entries.flatMap(([path, entry]) =>
    entry.kind === 'file' ? [[path, createHash('sha256').update(entry.content).digest('hex')] as const] : [],
  );
  return Object.fromEntries(found);
}
