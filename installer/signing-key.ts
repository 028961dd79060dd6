import { readFile } from 'node:fs/promises';
import { reasonOf } from '../errors/reason.ts';
import { InstallError } from './errors.ts';
import type { DownloadClient } from './fetch/client.ts';
import { fetchSmallFile } from './fetch/fetch.ts';

/** Fingerprint of the primary key of "Flatcar Buildbot (Official Builds)". It never expires and certifies each year's signing subkey. */
export const flatcarFingerprint = 'F88CFEDEFF29A5B4D9523864E25D9AED0593B34A';

const flatcarKeyUrl = new URL('https://www.flatcar.org/security/image-signing-key/Flatcar_Image_Signing_Key.asc');

/** Name of the key's file on a mirror, below the mirror's base. */
const keyFileName = 'Flatcar_Image_Signing_Key.asc';

const maxKeyBytes = 4 * 1024 * 1024;

/** A place that may have the public keys an image is signed with. */
export interface KeySource {
  /** For messages: a path, a URL. */
  readonly origin: string;
  /** The only primary key trusted from there, by its fingerprint; absent where whoever chose the place vouches for all it has. */
  readonly pinnedFingerprint?: string;
  /** The keys, armoured or binary. */
  read(signal: AbortSignal): Promise<Uint8Array>;
}

/** Armoured key given at build time, if one was: it spares machines without a way to flatcar.org the `-k`. */
declare const __NIBS_SIGNING_KEY__: string | undefined;
const embeddedKey =
  typeof __NIBS_SIGNING_KEY__ === 'string' && __NIBS_SIGNING_KEY__ !== '' ? __NIBS_SIGNING_KEY__ : undefined;

/** The one place to look when the person names a key file: its keys are trusted as they are, or only the one with this fingerprint. */
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
 * Where to look for Flatcar's key, or for the one with another fingerprint, nearest first. Whatever a place says, only keys below the pinned primary key count, so a mirror need not be
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
