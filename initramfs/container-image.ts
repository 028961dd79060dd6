import { copyFile, mkdir, rm, symlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type Architecture, architectureOf, hostArchitecture } from '../debian/architecture.ts';
import type { PackageSet } from '../debian/package.ts';
import { selectPackages } from '../debian/select.ts';
import { unpackPackages } from '../debian/unpack.ts';
import { billOf, billPath, sbom } from '../sbom/sbom.ts';
import { fileDigest, writeWhole } from './checksums.ts';
import { findLibraries } from './libraries.ts';
import { writeOciArchive } from './oci.ts';
import { productLock } from './package-sets.ts';

const root = resolve(import.meta.dirname, '..');

/** What the command line says of an image. */
export interface ImageOptions {
  readonly architecture: Architecture;
  /** Path of the executable in it. */
  readonly executable: string;
  /** Path of the archive. */
  readonly output: string;
}

/**
 * @param values options of the command line: `--arch`, `--executable`, `--output`
 * @param name of the archive. That for another architecture than this machine's has its name in it.
 */
export function imageOptions(
  values: { readonly [option in 'arch' | 'executable' | 'output']?: string | undefined },
  name: string,
): ImageOptions {
  const architecture = values.arch === undefined ? hostArchitecture : architectureOf(values.arch);
  const marked = architecture === hostArchitecture ? name : `${name}-${architecture.name}`;
  return {
    architecture,
    executable: resolve(values.executable ?? join(root, `build/nibs-linux-${architecture.node}`)),
    output: resolve(values.output ?? join(root, `build/${marked}.oci.tar`)),
  };
}

/** Contents of a container image. */
export interface ContainerImage {
  readonly architecture: Architecture;
  /** Path of the executable in it, which has its bill of materials beside it. */
  readonly executable: string;
  /** Debian packages to take programs and libraries from. */
  readonly packages: PackageSet;
  /** Docker's `image:tag`. */
  readonly reference: string;
  /** As in the OCI image specification, `config`. */
  readonly config: Readonly<Record<string, unknown>>;
  /**
   * Fills the layers, lowest first.
   * @param unpacked the contents of the packages
   * @param layers {@link layerCount} empty directories
   */
  layOut(unpacked: string, layers: readonly string[]): Promise<void>;
  readonly layerCount: number;
}

/** One time for everything in an image, so that the same content has the same bytes. */
const created = new Date(Number(process.env['SOURCE_DATE_EPOCH'] ?? 0) * 1000);

/**
 * Builds a container image without an engine and writes it as an OCI archive;
 * `skopeo copy oci-archive:FILE docker://REGISTRY/NAME` pushes it to a registry.
 * @param output path of the archive; its bill of materials is written beside it
 */
export async function writeContainerImage(image: ContainerImage, output: string): Promise<void> {
  const scratch = `${output}.d`;
  const unpacked = join(scratch, 'unpacked');
  const layers = Array.from({ length: image.layerCount }, (_, index) => join(scratch, `layer-${index}`));
  await rm(scratch, { recursive: true, force: true });
  try {
    for (const directory of [unpacked, ...layers]) await mkdir(directory, { recursive: true });
    const { debian: architecture } = image.architecture;
    const options = { lockFile: productLock, architecture };
    const { files, packages } = await selectPackages(image.packages, options);
    await unpackPackages(files.values(), unpacked);
    await image.layOut(unpacked, layers);
    const { reference, config } = image;
    await writeOciArchive({ layers, architecture, reference, config, created }, output);
    const [sha256, sha1] = await Promise.all([fileDigest(output, 'sha256'), fileDigest(output, 'sha1')]);
    const bill = sbom({
      name: basename(output),
      files: [{ name: basename(output), sha256, sha1 }],
      packages,
      included: [await billOf(image.executable)],
      timeSeconds: created.getTime() / 1000,
    });
    await writeWhole(billPath(output), bill);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/**
 * Creates the directories that programs expect: everything below /usr, and links to it, as in
 * Debian.
 */
export async function layOutDirectories(tree: string): Promise<void> {
  const below = ['bin', 'sbin', 'lib', 'lib64'];
  const usual = [...below.map((name) => `usr/${name}`), 'usr/local/bin', 'etc', 'tmp', 'root', 'run', 'var'];
  for (const directory of [...usual, 'proc', 'sys', 'dev']) await mkdir(join(tree, directory), { recursive: true });
  for (const directory of below) await symlink(`usr/${directory}`, join(tree, directory));
}

/** Copies the shared libraries of programs to where the loader finds them. */
export async function layOutLibraries(programs: readonly string[], unpacked: string, tree: string): Promise<void> {
  for (const library of await findLibraries(programs, unpacked)) {
    const target = join(tree, 'usr', library.replace(/^usr\//, ''));
    await mkdir(dirname(target), { recursive: true });
    await copyFile(join(unpacked, library), target);
  }
}
