import { inspect } from 'node:util';
import { isVersion } from './age.ts';
import { InstallError } from './errors.ts';
import type { DownloadClient } from './fetch/client.ts';
import { fetchSmallFile } from './fetch/fetch.ts';
import type { Report } from './progress.ts';

/** The image to install. */
export interface Release {
  readonly channel: string;
  readonly board: string;
  /**
   * A version, `current` (the newest of the channel), or the name of a directory on the server such
   * as `current-2024`.
   */
  readonly version: string;
  /** Empty for the image without an OEM. */
  readonly oem: string;
  /**
   * Mirrors' directories in place of the release server's `<channel>…/<board>`, without a slash at
   * their end, the preferred first.
   */
  readonly baseUrls?: readonly string[] | undefined;
}

/** URLs of the files of one release on each mirror, the preferred first. */
export interface ReleaseFiles {
  readonly images: readonly URL[];
  readonly signatures: readonly URL[];
}

/** The version.txt of a channel has four short lines. */
const maxVersionFileBytes = 64 * 1024;

/** Name of the image's file, on the server and after a download. */
export function imageFileName({ oem }: Pick<Release, 'oem'>): string {
  return oem === '' ? 'flatcar_production_image.bin.bz2' : `flatcar_production_${oem}_image.bin.bz2`;
}

/**
 * Directories that contain all versions: those of the mirrors, or that of channel and board on the
 * release server.
 */
export function releaseBases({ channel, board, baseUrls }: Release): readonly string[] {
  return baseUrls ?? [`https://${channel}.release.flatcar-linux.net/${board}`];
}

/** @throws {InstallError} channel, board, version or base make no URL */
export function releaseFiles(release: Release): ReleaseFiles {
  const images = fileUrls(release, release.version, imageFileName(release));
  return { images, signatures: images.map((image) => new URL(`${image.href}.sig`)) };
}

/** The same release, with the mirror that `url` is a file of as the preferred one. */
export function preferMirrorOf(url: URL, release: Release): Release {
  const { baseUrls = [] } = release;
  const preferred = baseUrls.find((base) => fileUrl(base, release.version, imageFileName(release)).href === url.href);
  if (preferred === undefined) return release;
  return { ...release, baseUrls: [preferred, ...baseUrls.filter((base) => base !== preferred)] };
}

/**
 * The release with `current` replaced by the version that it means now, so that image and signature
 * have the same version and messages name it. Names like `current-2024` stay: the server has
 * directories of these names.
 * @throws {InstallError} `version.txt unavailable`
 */
export async function resolveRelease(
  release: Release,
  client: DownloadClient,
  signal: AbortSignal,
  report?: Pick<Report, 'warn'>,
): Promise<Release> {
  if (release.version !== 'current') return release;
  const urls = fileUrls(release, 'current', 'version.txt');
  const wording = {
    what: 'read the current version from',
    unavailable: 'version.txt unavailable',
    maxBytes: maxVersionFileBytes,
  };
  // Of several mirrors those that say something else than a version count as if they had nothing.
  for (const [index, url] of urls.entries()) {
    const rest = urls.slice(index);
    try {
      return { ...release, version: versionIn(await fetchSmallFile(client, rest, wording, signal), rest) };
    } catch (error) {
      if (index === urls.length - 1 || !(error instanceof NoVersionError)) throw error;
      report?.warn(`${url.href}: ${error.message}`);
    }
  }
  throw new Error('there is no URL of a version');
}

class NoVersionError extends InstallError {
  override readonly name = 'NoVersionError';
}

/** @throws {NoVersionError} */
function versionIn(bytes: Uint8Array, urls: readonly URL[]): string {
  const version = /^FLATCAR_VERSION=["']?([^"'\r\n]*)/m.exec(new TextDecoder().decode(bytes))?.[1]?.trim();
  const problem = { what: 'read the current version from', target: urls.join(' or '), hint: 'name a version with -V' };
  if (version === undefined || version === '')
    throw new NoVersionError({ ...problem, why: 'version.txt unavailable: the file has no FLATCAR_VERSION' });
  if (isVersion(version)) return version;
  const shown = inspect(version.slice(0, 40));
  throw new NoVersionError({
    ...problem,
    why: `version.txt unavailable: FLATCAR_VERSION in it is not a version: ${shown}`,
  });
}

function fileUrls(release: Release, version: string, name: string): URL[] {
  return releaseBases(release).map((base) => fileUrl(base, version, name));
}

function fileUrl(base: string, version: string, name: string): URL {
  const text = `${base}/${version}/${name}`;
  const url = URL.parse(text);
  if (url !== null && (url.protocol === 'http:' || url.protocol === 'https:')) return url;
  throw new InstallError({
    what: 'download',
    target: text,
    why: 'it is not an HTTP URL',
    hint: 'check -b, -C, -B and -V',
  });
}
