import type { OldestImage } from './age.ts';
import type { FlatcarRelease } from './configure/ignition/assess.ts';
import type { ReleaseDefaults } from './defaults.ts';
import type { Hint } from './disk/hints.ts';
import type { SavedSelection } from './disk/saved-partitions.ts';
import { InstallError } from './errors.ts';
import type { Options } from './options.ts';
import { imageFileName, type Release, releaseBases } from './release.ts';
import { noSite, type SiteDefaults } from './site.ts';

/** What to do, with all defaults filled in. */
export interface InstallPlan {
  readonly target: Target | undefined;
  readonly release: Release;
  /** A local image, installed unverified in place of the release. */
  readonly imageFile?: string | undefined;
  /** File of keys to trust in place of Flatcar's. */
  readonly keyFile?: string | undefined;
  /** File of the site's keys, unless other keys are given. */
  readonly siteKeyFile?: string | undefined;
  /** The only primary key to trust, in place of Flatcar's or among those of the key file. */
  readonly keyFingerprint?: string | undefined;
  readonly notOlderThan?: OldestImage | undefined;
  readonly acceptUnsigned: boolean;
  readonly configuration: ConfigurationPlan;
  readonly download: DownloadPlan;
  /** Partitions to keep. */
  readonly saved: SavedSelection;
  /** Read the disk back and compare it with what was written. */
  readonly readBack: boolean;
  /** Rescan the partition table when the disk is complete. */
  readonly reread: boolean;
  /** Let the disk zero long ranges itself if it supports that. */
  readonly zeroOffload: boolean;
  /** Largest window of a zstd image. Default: 128 MiB. */
  readonly zstdWindowBytes?: number | undefined;
}

interface TargetLimits {
  /** The disk must be larger. Default with `smallest`: the original's 10 GB. */
  readonly minBytes?: number | undefined;
  /** Disks that must not be touched. */
  readonly never?: readonly Hint[] | undefined;
  /** How long to wait for the disk. Default: 0. */
  readonly waitSeconds?: number | undefined;
  /**
   * Allows disks with signatures of arrays and pools of Linux (`own`), or of any system
   * (`foreign`), and erases these signatures. Default: neither.
   */
  readonly wipeMembers?: 'own' | 'foreign' | undefined;
}

export type Target = TargetLimits &
  (
    | { readonly kind: 'device'; readonly path: string }
    | {
        readonly kind: 'smallest';
        readonly includeMajors?: readonly number[] | undefined;
        readonly excludeMajors?: readonly number[] | undefined;
        readonly match?: readonly Hint[] | undefined;
      }
  );

/** What the installed system finds at its first boot. */
export interface ConfigurationPlan {
  /** Path of an Ignition config, `-` for standard input. */
  readonly ignition?: string | undefined;
  /** URL of an Ignition config to download. */
  readonly ignitionUrl?: URL | undefined;
  readonly ignitionHash?: Hash | undefined;
  /** The release that will read it; undefined for an image that may be of any. */
  readonly flatcar?: FlatcarRelease | undefined;
  /** The Ignition that will read it, in place of that of the release. */
  readonly ignitionVersion?: string | undefined;
  /** Install it although the first boot would fail. */
  readonly ignitionUnchecked?: boolean | undefined;
  readonly cloudConfig?: string | undefined;
  /** For every boot of the installed system. */
  readonly kernelArguments?: { readonly append: readonly string[]; readonly consoles: readonly string[] } | undefined;
  readonly copyNetwork: boolean;
  readonly uefiEntry: boolean;
}

export interface Hash {
  readonly algorithm: 'sha256' | 'sha512';
  /** Lower-case hexadecimal digits. */
  readonly digest: string;
}

interface DownloadPlan {
  readonly tries: number;
  readonly timeoutSeconds: number;
}

const channels: ReadonlySet<string> = new Set(['alpha', 'beta', 'stable', 'edge']);

/**
 * Fills in the defaults as the original does.
 * @throws {InstallError} no target is given, or options contradict each other
 */
export function makePlan(options: Options, defaults: ReleaseDefaults, site: SiteDefaults = noSite): InstallPlan {
  if (options.offline) refuseDownloads(options);
  if (options.downloadOnly && options.imageFile !== undefined) {
    throw new InstallError({
      what: 'download',
      target: 'an image',
      why: `${options.imageFile} is given with -f, and needs no download`,
      hint: 'leave out -D or -f',
    });
  }
  const release = chooseRelease(options, defaults, site);
  return {
    target: options.downloadOnly ? undefined : chooseTarget(options),
    release,
    imageFile: options.imageFile,
    keyFile: options.key,
    siteKeyFile: options.key === undefined ? site.keyFile : undefined,
    keyFingerprint: options.keyFingerprint,
    notOlderThan: options.notOlderThan,
    acceptUnsigned: options.insecure === true,
    configuration: {
      ...chooseIgnition(options),
      flatcar: flatcarOf(options, release),
      ignitionVersion: options.ignitionVersion,
      ignitionUnchecked: options.ignitionUnchecked === true,
      cloudConfig: options.cloudConfig,
      kernelArguments: chooseKernelArguments(options),
      copyNetwork: options.copyNetwork === true,
      uefiEntry: options.uefiEntry === true,
    },
    download: { tries: options.tries, timeoutSeconds: options.timeout },
    saved: { labels: options.savePartlabel ?? [], numbers: options.savePartindex ?? [] },
    readBack: options.readBack === true,
    reread: options.reread,
    zeroOffload: options.zeroOffload,
    ...(options.zstdWindow !== undefined && { zstdWindowBytes: options.zstdWindow }),
  };
}

function chooseTarget(options: Options): Target {
  const { device, smallest, includeMajors, excludeMajors, match, never, wipeMembers, minSize: minBytes } = options;
  const limits = { minBytes, never, waitSeconds: options.wait, wipeMembers };
  const hasDevice = device !== undefined && device !== '';
  if (smallest || (match !== undefined && !hasDevice))
    return { kind: 'smallest', includeMajors, excludeMajors, match, ...limits };
  if (hasDevice && match !== undefined) {
    throw new InstallError({
      what: 'install to',
      target: device,
      why: 'a disk is also described with --match',
      hint: 'give either -d or --match',
    });
  }
  if (hasDevice) return { kind: 'device', path: device, ...limits };
  throw new InstallError({
    what: 'install',
    target: 'without a target',
    why: 'no target block device provided',
    hint: 'give -d DEVICE, -s for the smallest unused disk, or -D to download only; see --help',
  });
}

/**
 * @throws {InstallError} a download would be needed; the message names the local file to give
 *   instead
 */
function refuseDownloads({ downloadOnly, imageFile, ignitionUrl }: Options): void {
  const refuse = (target: string, hint: string) => {
    throw new InstallError({ what: 'work offline', target, why: 'that needs the network', hint });
  };
  if (downloadOnly) refuse('with -D', 'leave out --offline');
  if (imageFile === undefined) refuse('without a local image', 'give the path of one with -f, or leave out --offline');
  if (ignitionUrl !== undefined) refuse(`with ${ignitionUrl}`, 'download it first and give the file with -i');
}

function chooseIgnition({ ignition, ignitionUrl, ignitionHash }: Options): Partial<ConfigurationPlan> {
  const hash = ignitionHash === undefined ? undefined : parseHash(ignitionHash);
  if (ignitionUrl === undefined) {
    if (hash === undefined || ignition !== undefined) return { ignition, ignitionHash: hash };
    throw new InstallError({
      what: 'check',
      target: 'the Ignition config',
      why: 'there is a hash but no config',
      hint: 'give it with -i or --ignition-url',
    });
  }
  const refuse = (why: string, hint: string) =>
    new InstallError({ what: 'use the Ignition config', target: ignitionUrl, why, hint });
  if (ignition !== undefined) throw refuse(`${ignition} is given too`, 'give either -i or --ignition-url');
  const url = URL.parse(ignitionUrl);
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:')
    throw refuse('it is not an HTTP URL', 'give a file with -i');
  if (url.protocol === 'http:' && hash === undefined)
    throw refuse('plain HTTP can be tampered with', 'use https, or add --ignition-hash sha512-…');
  return { ignitionUrl: url, ignitionHash: hash };
}

/** A local image may be of any release, unless one is named. */
function flatcarOf({ imageFile, releaseVersion }: Options, { version, channel }: Release): FlatcarRelease | undefined {
  return imageFile === undefined || releaseVersion !== undefined ? { version, channel } : undefined;
}

function chooseKernelArguments({ appendKarg: append = [], console: consoles = [] }: Options) {
  return append.length + consoles.length === 0 ? undefined : { append, consoles };
}

/** The notation of Ignition itself. */
function parseHash(text: string): Hash {
  const [, algorithm, digest = ''] = /^(sha256|sha512)-([0-9a-f]+)$/i.exec(text) ?? [];
  const name = algorithm?.toLowerCase();
  if (name === 'sha256' && digest.length === 64) return { algorithm: name, digest: digest.toLowerCase() };
  if (name === 'sha512' && digest.length === 128) return { algorithm: name, digest: digest.toLowerCase() };
  throw new InstallError({
    what: 'use the hash',
    target: text,
    why: 'it must be sha512- with 128 or sha256- with 64 hexadecimal digits',
    hint: 'make one with: echo sha512-$(sha512sum FILE | cut -d " " -f 1)',
  });
}

function chooseRelease(options: Options, defaults: ReleaseDefaults, site: SiteDefaults): Release {
  const { board = defaults.board, oem = defaults.oem } = options;
  const mirrors = (options.baseUrl ?? site.baseUrls).filter((text) => text !== '').map(normalBase);
  const baseUrls = mirrors.length === 0 ? undefined : [...new Set(mirrors)];
  const given = options.releaseVersion;
  if (given !== undefined && channels.has(given)) return { board, oem, baseUrls, channel: given, version: 'current' };
  // The version this machine runs need not exist in another channel.
  const version = given ?? (options.channel === undefined ? defaults.version : 'current');
  return { board, oem, baseUrls, channel: options.channel ?? defaults.channel, version };
}

/** As wget reads it: HTTP without a scheme. One slash at the end is ignored. */
function normalBase(text: string): string {
  const url = text.includes('://') ? text : `http://${text}`;
  return url.replace(/\/$/, '');
}

/** The settings as `-y` shows them: the original's names in the original's order. */
export function settingsOf(plan: InstallPlan): Readonly<Record<string, string>> {
  const { release, configuration } = plan;
  return {
    VERSION: release.version,
    BOARD: release.board,
    CHANNEL: release.channel,
    OEM: release.oem,
    CLOUD: configuration.cloudConfig ?? '',
    IGNITION: configuration.ignition ?? configuration.ignitionUrl?.href ?? '',
    BASEURL: releaseBases(release).join(' '),
    KEYFILE: plan.keyFile ?? plan.siteKeyFile ?? '',
    IMAGE: plan.imageFile ?? imageFileName(release),
  };
}
