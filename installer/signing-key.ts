import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DeadlineError } from '../clock/deadline.ts';
import { within } from '../clock/within.ts';
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

/**
 * Name of the key's file on a mirror, below the mirror's base, and in this folder. The file here is
 * a copy of what {@link flatcarKeyUrl} serves since 2025-03-07, with all subkeys since 2018 and
 * their revocations. To renew it: download it, compare the fingerprint that `gpg --show-keys`
 * prints with {@link flatcarFingerprint}, and adapt the subkeys in
 * test/installer/signing-key.test.ts.
 */
export const keyFileName = 'Flatcar_Image_Signing_Key.asc';

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
  /**
   * Its revocations apply to the keys of other sources; its keys are not trusted. Default: false.
   */
  readonly revocationsOnly?: boolean;
  /** The keys, armoured or binary. */
  readonly read: (signal: AbortSignal) => Promise<Uint8Array>;
  /**
   * The same in one attempt, in limited time and without notices. A server is asked so at each
   * verification, for revocations; it is read as patiently as an image only if its key is needed.
   * Absent: the source is on this machine.
   */
  readonly ask?: (signal: AbortSignal) => Promise<Uint8Array>;
}

/** Flatcar's key, or the one that the executable was built with in its place; armoured. */
declare const __NIBS_SIGNING_KEY__: string | undefined;
async function readEmbeddedKey(): Promise<Uint8Array> {
  if (typeof __NIBS_SIGNING_KEY__ === 'string') return new TextEncoder().encode(__NIBS_SIGNING_KEY__);
  return await readFile(join(import.meta.dirname, keyFileName));
}

const embeddedOrigin = 'the key in this program';

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

/** The revocations that are known to this program, whatever keys the user trusts. */
export const embeddedRevocations: KeySource = {
  origin: embeddedOrigin,
  revocationsOnly: true,
  read: readEmbeddedKey,
};

/** Flatcar's key in this program, or none if another fingerprint is pinned. */
export function embeddedKey(pinnedFingerprint: string = flatcarFingerprint): KeySource {
  return { origin: embeddedOrigin, pinnedFingerprint, read: readEmbeddedKey };
}

/**
 * Sources of Flatcar's key, or of the one with another fingerprint. Only keys certified by the
 * pinned primary key are accepted, so a mirror need not be trusted, and a subkey newer than this
 * program is found where it was published. What one of them revokes is revoked.
 */
export function flatcarKeySources(
  client: DownloadClient,
  mirrors: readonly URL[],
  pinnedFingerprint: string = flatcarFingerprint,
): KeySource[] {
  return [
    embeddedKey(pinnedFingerprint),
    ...mirrors.map((mirror) => new URL(`${mirror.href.replace(/\/$/, '')}/${keyFileName}`)),
    flatcarKeyUrl,
  ].map((source) => (source instanceof URL ? serverSource(client, source, pinnedFingerprint) : source));
}

function serverSource(client: DownloadClient, url: URL, pinnedFingerprint: string): KeySource {
  const wording = { what: 'download the signing key', maxBytes: maxKeyBytes };
  const { clock, timeoutSeconds } = client.options;
  const hasty = { ...client, options: { ...client.options, tries: 1, onRetry: () => {} } };
  const limit = { seconds: timeoutSeconds, awaited: 'response' };
  return {
    origin: url.href,
    pinnedFingerprint,
    read: (signal) => fetchSmallFile(client, [url], wording, signal),
    async ask(signal) {
      try {
        return await within(clock, limit, signal, (signal) => fetchSmallFile(hasty, [url], wording, signal));
      } catch (cause) {
        if (!(cause instanceof DeadlineError)) throw cause;
        throw new InstallError({ what: wording.what, target: url.href, why: reasonOf(cause), cause });
      }
    },
  };
}
