import { z } from 'zod';

/** Debian's name of a processor architecture. */
export type DebianArchitecture = 'amd64' | 'arm64';

/** The release of Debian that the products are made from. */
export const release = 'trixie';

/** One version of a package, as Debian's package lists describe it. */
export const Package = z.object({
  name: z.string(),
  version: z.string(),
  /** That of its files: `all` if every machine can use them. */
  architecture: z.string(),
  sizeBytes: z.int().positive(),
  /** Of the package file, in hexadecimal. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Path of the package file below the mirror. */
  path: z.string().regex(/^pool\//),
  /** `name <address>` of who keeps it in Debian. */
  maintainer: z.string(),
});

export type Package = Readonly<z.infer<typeof Package>>;

/** Packages that are used together. */
export interface PackageSet {
  /** Its key in the lock file. */
  readonly name: string;
  readonly packages: readonly string[];
  /**
   * - `all`: with everything that they need, as apt would install it on an empty system.
   * - `kernel`: a metapackage of the kernel. It is replaced by the kernel's own packages that it
   *   depends on. The others build an initramfs on the machine.
   * - `none`: these packages alone. Their files are used, nothing in them runs.
   */
  readonly dependencies: 'all' | 'kernel' | 'none';
  /** Taken from backports, as far as these packages are there. */
  readonly backports?: boolean;
  /** Names of dependencies that nothing in the product uses. */
  readonly leftOut?: RegExp;
}
