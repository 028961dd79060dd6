import { z } from 'zod';

/** What a site adds to the boot image. */
export interface AdditionOptions {
  /** Directories of files for the root. A file of a later one replaces that of an earlier one. */
  readonly files: readonly string[];
  /** Files with certificates of authorities, PEM. */
  readonly certificates: readonly string[];
  /** Archives of container images: `file` or `name:tag=file`. */
  readonly images: readonly string[];
  /** Names of Debian packages. */
  readonly packages: readonly string[];
  /** Names or paths of Debian's kernel modules, or files. */
  readonly modules: readonly string[];
  /** File with public keys that may log in by ssh. */
  readonly authorizedKeys: string | undefined;
  readonly hasSshServer: boolean;
}

const list = { type: 'string', multiple: true } as const;

/** The command-line options that {@link additionOptions} reads (`parseArgs`). */
export const additionArguments = {
  ...{ files: list, certificate: list, image: list, package: list, module: list },
  'authorized-keys': { type: 'string' },
  ssh: { type: 'string' },
} as const;

/** The values of {@link additionArguments}. */
export interface AdditionValues {
  readonly files?: readonly string[] | undefined;
  readonly certificate?: readonly string[] | undefined;
  readonly image?: readonly string[] | undefined;
  readonly package?: readonly string[] | undefined;
  readonly module?: readonly string[] | undefined;
  readonly 'authorized-keys'?: string | undefined;
  readonly ssh?: string | undefined;
}

/**
 * @returns `undefined`: nothing is added
 * @throws {ZodError} another SSH server than there is
 */
export function additionOptions(values: AdditionValues): AdditionOptions | undefined {
  const authorizedKeys = values['authorized-keys'];
  const ssh = z.enum(['dropbear']).optional().parse(values.ssh);
  const lists = {
    files: values.files ?? [],
    certificates: values.certificate ?? [],
    images: values.image ?? [],
    packages: values.package ?? [],
    modules: values.module ?? [],
  };
  const hasSshServer = ssh !== undefined || authorizedKeys !== undefined;
  const isEmpty = Object.values(lists).every(({ length }) => length === 0) && !hasSshServer;
  return isEmpty ? undefined : { ...lists, authorizedKeys, hasSshServer };
}
