import { createHash } from 'node:crypto';
import type { Architecture } from '../../debian/architecture.ts';
import type { Package } from '../../debian/package.ts';
import { compressedCpio } from '../compressed-cpio.ts';
import type { DebianSystem } from '../system.ts';
import { Tree } from '../tree.ts';
import { addAuthorizedKeys } from './authorized-keys.ts';
import { addCertificates } from './certificates.ts';
import { type AddedImage, addImages } from './images.ts';
import { addModules } from './modules.ts';
import type { AdditionOptions } from './options.ts';
import { addPackages, addSshServer } from './packages.ts';
import { addRootFiles } from './root-files.ts';

/** A part of an initramfs with what a site adds. */
export interface Additions {
  /** Its files, all below `site/`. */
  readonly tree: Tree;
  readonly packages: readonly Package[];
  readonly images: readonly AddedImage[];
  /** Paths below lib/modules/<version>. */
  readonly modules: readonly string[];
}

/** What additions are made with. */
export interface AdditionSources {
  readonly architecture: Architecture;
  /** Fetches the system of the boot image. Called only for packages, modules and the SSH server. */
  readonly system: () => Promise<DebianSystem>;
  /** Directory for package files, lists and unpacked packages. */
  readonly cache: string;
  /** An empty directory on the file system of the cache. */
  readonly scratch: string;
}

/**
 * Reads and checks what a site adds. Files of the site replace those of packages.
 * @throws {OperationError} some of it cannot be used
 */
export async function readAdditions(
  { files, certificates, images, packages, modules, authorizedKeys, hasSshServer }: AdditionOptions,
  { architecture, system, cache, scratch }: AdditionSources,
): Promise<Additions> {
  const given = new Tree();
  for (const directory of files) await addRootFiles(given, directory);
  for (const path of certificates) await addCertificates(given, path);
  if (authorizedKeys !== undefined) await addAuthorizedKeys(given, authorizedKeys);
  const addedImages = [];
  for (const one of images) addedImages.push(...(await addImages(given, one, architecture)));

  const tree = new Tree();
  const addedPackages: Package[] = [];
  const addedModules: string[] = [];
  if (packages.length > 0) {
    addedPackages.push(...(await addPackages(tree, packages, { system: await system(), cache })));
  }
  if (hasSshServer) addedPackages.push(...(await addSshServer(tree, { system: await system(), cache })));
  if (modules.length > 0) addedModules.push(...(await addModules(tree, modules, await system(), scratch)));
  tree.add(given);
  const byName = new Map(addedPackages.map((one) => [one.name, one]));
  return { tree, packages: [...byName.values()], images: addedImages, modules: addedModules };
}

/** What was added, for the manifest; each file by its path in the initramfs, with its SHA-256. */
export function manifestOf({ tree, packages, images, modules }: Additions) {
  const files = tree.entries.flatMap(([path, entry]) =>
    entry.kind === 'file' ? [[path, createHash('sha256').update(entry.content).digest('hex')] as const] : [],
  );
  return { files: Object.fromEntries(files), packages, images, modules };
}

/** An archive that the kernel unpacks after those of the boot image. */
export async function packAdditions(tree: Tree, timeSeconds: number): Promise<Uint8Array> {
  // Images are large and mostly compressed: higher levels take minutes for some percent.
  return await compressedCpio(tree, timeSeconds, 9);
}
