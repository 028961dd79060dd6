import type { OldestImage } from './age.ts';
import type { FlatcarRelease } from './configure/ignition/assess.ts';
import type { KernelArguments } from './configure/kernel-arguments.ts';
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
  /** A local image in place of the release; `-` for standard input. */
  readonly imageFile?: string | undefined;
  /** An image on a server, in place of the release. */
  readonly imageUrl?: URL | undefined;
  /** Of the image as it is transferred, in place of its signature. */
  readonly imageHash?: Hash | undefined;
  /** Nothing may be downloaded. */
  readonly offline: boolean;
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
  /** Size of the file, which may not exist. Default: the one it has. */
  readonly fileBytes?: number | undefined;
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
  readonly kernelArguments?: KernelArguments | undefined;
  readonly copyNetwork: boolean;
  readonly uefiEntry: boolean;
}

export interface Hash {
  readonly algorithm: 'sha256' | 'sha512';
  /** Lower-case hexadecimal digits. */
  readonly digest: string;
}

/** Whether a release of Flatcar is installed, and no image of one's own. */
export function isRelease({ imageFile, imageUrl }: InstallPlan): boolean {
  return imageFile === undefined && imageUrl === undefined;
}

/** Name of an image that is no release; for messages. */
export function nameOfOwnImage({ imageFile, imageUrl }: InstallPlan): string | undefined {
  return imageFile === '-' ? 'the image on standard input' : (imageFile ?? imageUrl?.href);
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
  const image = chooseImage(options);
  const release = chooseRelease(options, defaults, site);
  return {
    target: options.downloadOnly ? undefined : chooseTarget(options),
    release,
    ...image,
    offline: options.offline === true,
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
      kernelArguments: chooseKernelArguments(options, release),
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
  const limits = {
    minBytes,
    never,
    waitSeconds: options.wait,
    wipeMembers,
    ...(options.size !== undefined && { fileBytes: options.size }),
  };
  const hasDevice = device !== undefined && device !== '';
  if (options.size !== undefined && (smallest === true || !hasDevice || device.startsWith('/dev/'))) {
    throw new InstallError({
      what: 'use',
      target: '--size',
      why: 'no file is given with -d',
      hint: 'give a file, such as -d disk.img, or leave out --size',
    });
  }
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

/** @throws {InstallError} the image is given twice, or what verifies it */
function chooseImage(options: Options): Pick<InstallPlan, 'imageFile' | 'imageUrl' | 'imageHash'> {
  const { imageFile, imageUrl, baseUrl, ignition, sha512, sha256 } = options;
  const refuse = (target: string, why: string, hint: string) =>
    new InstallError({ what: options.downloadOnly ? 'download' : 'install', target, why, hint });
  if (options.downloadOnly && imageFile !== undefined)
    throw refuse('an image', `${imageFile} is given with -f, and needs no download`, 'leave out -D or -f');
  if (imageFile === '-' && ignition === '-')
    throw refuse('an image', 'standard input is the Ignition config too', 'give one of them as a file');
  if (imageUrl !== undefined) {
    if (imageFile !== undefined) throw refuse(imageUrl, `${imageFile} is given too`, 'give either -f or --image-url');
    if (baseUrl !== undefined)
      throw refuse(imageUrl, 'mirrors of releases are given too', 'give either -b or --image-url');
  }
  if (sha512 !== undefined && sha256 !== undefined)
    throw refuse('an image', 'two hashes are given', 'give either --sha512 or --sha256');
  const imageHash = sha512 ?? sha256;
  if (imageHash !== undefined && (options.key !== undefined || options.keyFingerprint !== undefined))
    throw refuse('an image', 'with its hash no key is needed', `leave out -k and --key-fingerprint, or the hash`);
  return { imageFile, imageUrl: imageUrl === undefined ? undefined : imageUrlOf(imageUrl, options), imageHash };
}

function imageUrlOf(text: string, { downloadOnly }: Options): URL {
  const url = URL.parse(withScheme(text));
  const refuse = (why: string) =>
    new InstallError({ what: 'download', target: text, why, hint: 'give the URL of an image with --image-url' });
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:') throw refuse('it is not an HTTP URL');
  const name = url.pathname.split('/').at(-1) ?? '';
  if (downloadOnly && !/^[\w@+~-][\w.@+~-]*$/.test(name)) throw refuse('it does not end with the name of a file');
  return url;
}

/**
 * @throws {InstallError} a download would be needed; the message names the local file to give
 *   instead
 */
function refuseDownloads({ downloadOnly, imageFile, imageUrl, ignitionUrl }: Options): void {
  const refuse = (target: string, hint: string) => {
    throw new InstallError({ what: 'work offline', target, why: 'that needs the network', hint });
  };
  if (downloadOnly) refuse('with -D', 'leave out --offline');
  if (imageUrl !== undefined) refuse(`with ${imageUrl}`, 'download it first and give the file with -f');
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

/** An image of one's own may be of any release, unless one is named. */
function flatcarOf(
  { imageFile, imageUrl, releaseVersion }: Options,
  { version, channel }: Release,
): FlatcarRelease | undefined {
  const isOwn = imageFile !== undefined || imageUrl !== undefined;
  return !isOwn || releaseVersion !== undefined ? { version, channel } : undefined;
}

function chooseKernelArguments(options: Options, { oem }: Release): KernelArguments | undefined {
  const { appendKarg: append = [], deleteKarg: remove = [], console: consoles = [], platform } = options;
  if (append.length + remove.length + consoles.length === 0 && platform === undefined) return undefined;
  const isOwn = options.imageFile !== undefined || options.imageUrl !== undefined;
  if (platform !== undefined && oem !== '' && !isOwn) {
    throw new InstallError({
      what: 'install for',
      target: `the platform ${platform}`,
      why: `the image of the OEM ${oem} is made for its platform`,
      hint: "leave out --platform, or choose the image without an OEM with -o ''",
    });
  }
  return { append, remove, consoles, platform };
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
  // Those of the site have releases.
  const mirrors = (options.baseUrl ?? (options.imageUrl === undefined ? site.baseUrls : []))
    .filter((text) => text !== '')
    .map(normalBase);
  const baseUrls = mirrors.length === 0 ? undefined : [...new Set(mirrors)];
  const given = options.releaseVersion;
  if (given !== undefined && channels.has(given)) return { board, oem, baseUrls, channel: given, version: 'current' };
  // The version this machine runs need not exist in another channel.
  const version = given ?? (options.channel === undefined ? defaults.version : 'current');
  return { board, oem, baseUrls, channel: options.channel ?? defaults.channel, version };
}

/** One slash at the end is ignored. */
function normalBase(text: string): string {
  return withScheme(text).replace(/\/$/, '');
}

/** As wget reads it: HTTP without a scheme. */
function withScheme(text: string): string {
  return text.includes('://') ? text : `http://${text}`;
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
    BASEURL: plan.imageUrl === undefined ? releaseBases(release).join(' ') : '',
    KEYFILE: plan.keyFile ?? plan.siteKeyFile ?? '',
    IMAGE: plan.imageFile ?? plan.imageUrl?.href ?? imageFileName(release),
  };
}
