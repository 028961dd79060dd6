import { readFile } from 'node:fs/promises';
import { reasonOf } from '../errors/reason.ts';
import { InstallError } from './errors.ts';
import type { DownloadClient } from './fetch/client.ts';
import { fetchSmallFile } from './fetch/fetch.ts';

/**
 * Fingerprint of the primary key of "Flatcar Buildbot (Official Builds)". It never expires and
 * certifies each year's signing subkey.
 */
export const flatcarFingerprint = 'F88CFEDEFF29A5B4D9523864E25D9AED0593B34A';

const flatcarKeyUrl = new URL('https://www.flatcar.org/security/image-signing-key/Flatcar_Image_Signing_Key.asc');

/** Name of the key's file on a mirror, below the mirror's base. */
const keyFileName = 'Flatcar_Image_Signing_Key.asc';

const maxKeyBytes = 4 * 1024 * 1024;

/** A file or server that may have the public keys of an image's signature. */
export interface KeySource {
  /** For messages: a path, a URL. */
  readonly origin: string;
  /**
   * Fingerprint of the only primary key to trust from this source. Absent: all its keys are
   * trusted, because the user chose the source.
   */
  readonly pinnedFingerprint?: string;
  /** The keys, armoured or binary. */
  read(signal: AbortSignal): Promise<Uint8Array>;
}

/**
 * Armoured key given at build time, if any: machines that cannot reach flatcar.org then need no
 * `-k`.
 */
declare const __NIBS_SIGNING_KEY__: string | undefined;
const embeddedKey =
  typeof __NIBS_SIGNING_KEY__ === 'string' && __NIBS_SIGNING_KEY__ !== '' ? __NIBS_SIGNING_KEY__ : undefined;

/**
 * A key file given by the user. All its keys are trusted, or only the one with this fingerprint.
 */
export function keyFileSource(path: string, pinnedFingerprint?: string): KeySource {
  return {
    origin: path,
    ...(pinnedFingerprint === undefined ? {} : { pinnedFingerprint }),
    read: (signal) =>
      readFile(path, { signal }).catch((cause: unknown) => {
        throw new InstallError({
          what: 'read the signing key',
          target: path,
          why: reasonOf(cause),
          hint: 'give a readable file with -k',
          cause,
        });
      }),
  };
}

/**
 * Sources of Flatcar's key, or of the one with another fingerprint, in the order in which they are
 * tried. Only keys certified by the pinned primary key are accepted, so a mirror need not be
 * trusted, and a subkey newer than this program is found where it was published.
 */
export function flatcarKeySources(
  client: DownloadClient,
  mirrors: readonly URL[],
  pinnedFingerprint: string = flatcarFingerprint,
): KeySource[] {
  const online = (url: URL): KeySource => ({
    origin: url.href,
    pinnedFingerprint,
    read: (signal) =>
      fetchSmallFile(client, [url], { what: 'download the signing key', maxBytes: maxKeyBytes }, signal),
  });
  const sources: KeySource[] = [];
  if (embeddedKey !== undefined) {
    sources.push({
      origin: 'the key in this program',
      pinnedFingerprint,
      read: async () => new TextEncoder().encode(embeddedKey),
    });
  }
  for (const mirror of mirrors) sources.push(online(new URL(`${mirror.href.replace(/\/$/, '')}/${keyFileName}`)));
  sources.push(online(flatcarKeyUrl));
  return sources;
}
