import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../errors/reason.ts';
import { parseCertificates } from '../net/pem.ts';
import { InstallError } from './errors.ts';

/** What a site uses in place of the public servers. Options override it. */
export interface SiteDefaults {
  /** Mirrors, as with `-b`. Empty: the release server. */
  readonly baseUrls: readonly string[];
  /** Path of a file with the signing keys to trust, as with `-k`. */
  readonly keyFile: string | undefined;
  /** Certificate authorities to trust besides the usual ones; PEM, one certificate each. */
  readonly authorities: readonly string[];
  /** How long to wait for a disk, as with `--wait`. */
  readonly waitSeconds: number;
}

/** A system that was not prepared for a site. */
export const noSite: SiteDefaults = { baseUrls: [], keyFile: undefined, authorities: [], waitSeconds: 0 };

/**
 * Files of a site below `/`; each may be missing. `make images MIRROR= CA= KEY=` puts them into the
 * action image.
 */
export const siteFiles = {
  /** Base URLs, one a line, the preferred first. */
  mirrors: 'etc/flatcar-install/mirrors',
  /** OpenPGP public keys. */
  key: 'etc/flatcar-install/signing-key.asc',
  /** Certificates, PEM. */
  authorities: 'etc/flatcar-install/authorities.pem',
  /** Seconds to wait for a disk. Boot image and action image have it: controllers may be late. */
  waitSeconds: 'etc/flatcar-install/wait-seconds',
} as const;

/**
 * Reads the files of the site.
 * @param root directory that stands for `/`
 * @throws {InstallError} a file exists and cannot be used
 */
export async function readSite(root: string): Promise<SiteDefaults> {
  const [mirrors, key, authorities, wait] = await Promise.all(
    [siteFiles.mirrors, siteFiles.key, siteFiles.authorities, siteFiles.waitSeconds].map((path) =>
      readIfThere(join(root, path)),
    ),
  );
  return {
    baseUrls: parseMirrors(mirrors ?? ''),
    keyFile: key === undefined ? undefined : join(root, siteFiles.key),
    authorities: authorities === undefined ? [] : readAuthorities(authorities, join(root, siteFiles.authorities)),
    waitSeconds: wait === undefined ? 0 : readWait(wait, join(root, siteFiles.waitSeconds)),
  };
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR')) return;
    throw new InstallError({ what: 'read', target: path, why: reasonOf(cause), cause });
  }
}

function readWait(text: string, path: string): number {
  if (/^\d{1,6}$/.test(text.trim())) return Number(text);
  throw new InstallError({
    what: 'read',
    target: path,
    why: 'it has no number of seconds',
    hint: 'write one, or remove the file',
  });
}

function readAuthorities(pem: string, path: string): string[] {
  try {
    return parseCertificates(pem);
  } catch (cause) {
    throw new InstallError({
      what: 'use the certificate authorities in',
      target: path,
      why: reasonOf(cause),
      hint: 'replace it with a file of certificates in PEM format, or remove it',
      cause,
    });
  }
}

/**
 * @returns the base URLs in a list with one a line; empty lines and lines that start with `#` are
 *   ignored
 */
export function parseMirrors(text: string): string[] {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '' && !line.startsWith('#'));
}
