import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { reasonOf } from '../errors/reason.ts';
import { siteFiles } from '../installer/site.ts';
import { parseCertificates } from '../net/pem.ts';

/** What a site adds to its action image. */
export interface SiteSource {
  /** Base URLs of mirrors, the preferred first. */
  readonly mirrors: readonly string[];
  /** Path of a file with certificate authorities, PEM. */
  readonly authorities: string | undefined;
  /** Path of a file with OpenPGP public keys. */
  readonly key: string | undefined;
}

/** Files to add: path below `/` → content. */
export type SiteLayout = ReadonlyMap<string, string | Uint8Array>;

/**
 * Reads and checks what a site adds.
 * @throws {Error} the installer could not use it
 */
export async function readSiteSource(source: SiteSource): Promise<SiteLayout> {
  const files = new Map<string, string | Uint8Array>();
  if (source.mirrors.length > 0) files.set(siteFiles.mirrors, `${source.mirrors.map(checkedMirror).join('\n')}\n`);
  if (source.authorities !== undefined) files.set(siteFiles.authorities, await readAuthorities(source.authorities));
  if (source.key !== undefined) files.set(siteFiles.key, await readKey(source.key));
  return files;
}

/** Writes the files of a site to the paths that the installer reads (installer/site.ts). */
export async function layOutSite(files: SiteLayout, tree: string): Promise<void> {
  for (const [path, content] of files) {
    await mkdir(dirname(join(tree, path)), { recursive: true });
    await writeFile(join(tree, path), content, { mode: 0o644 });
  }
}

function checkedMirror(text: string): string {
  const url = URL.parse(text);
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return text;
  throw new Error(`cannot use the mirror ${text}: it is not an HTTP URL (give MIRROR=https://server/path)`);
}

async function readAuthorities(path: string): Promise<string> {
  const pem = await readGiven(path, 'CA');
  try {
    return parseCertificates(pem.toString()).join('');
  } catch (cause) {
    throw refused('CA', path, cause);
  }
}

async function readKey(path: string): Promise<Uint8Array> {
  const bytes = await readGiven(path, 'KEY');
  const { readKeys } = await import('openpgp');
  const isArmored = bytes.subarray(0, 1024).includes('-----BEGIN PGP');
  try {
    const keys = await (isArmored ? readKeys({ armoredKeys: bytes.toString() }) : readKeys({ binaryKeys: bytes }));
    if (keys.length === 0) throw new Error('it contains no OpenPGP key');
    if (keys.some((key) => key.isPrivate()))
      throw new Error('it contains a private key, which must not be in an image');
    return bytes;
  } catch (cause) {
    throw refused('KEY', path, cause);
  }
}

async function readGiven(path: string, variable: string): Promise<Buffer> {
  return await readFile(path).catch((cause: unknown) => {
    throw refused(variable, path, cause);
  });
}

const kinds: Readonly<Record<string, string>> = {
  CA: 'a file with certificates in PEM format',
  KEY: 'a file with OpenPGP public keys, as gpg --armor --export writes it',
};

function refused(variable: string, path: string, cause: unknown): Error {
  return new Error(`cannot use ${path}: ${reasonOf(cause)} (give ${variable}= ${kinds[variable]})`, { cause });
}
