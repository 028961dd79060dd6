import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { completionScript, type Shell, shells } from '../completion/script.ts';
import { helpLayout } from '../text/help-layout.ts';
import { isVersion, type OldestImage } from './age.ts';
import type { ReleaseDefaults } from './defaults.ts';
import { type Hint, parseHint } from './disk/hints.ts';
import type { NumberRange } from './disk/saved-partitions.ts';
import type { Hash } from './plan.ts';
import { platforms } from './platforms.ts';
import { noSite, type SiteDefaults } from './site.ts';
import { parseBytes } from './size.ts';

/** The command line as it was given, each value checked for its form only. */
export interface Options {
  readonly device?: string;
  readonly smallest?: boolean;
  readonly includeMajors?: readonly number[];
  readonly excludeMajors?: readonly number[];
  readonly downloadOnly?: boolean;
  readonly releaseVersion?: string;
  readonly board?: string;
  readonly channel?: string;
  readonly oem?: string;
  readonly cloudConfig?: string;
  readonly ignition?: string;
  readonly tempDir?: string;
  readonly baseUrl?: readonly string[];
  readonly key?: string;
  readonly imageFile?: string;
  readonly imageUrl?: string;
  readonly sha512?: Hash;
  readonly sha256?: Hash;
  readonly copyNetwork?: boolean;
  readonly uefiEntry?: boolean;
  readonly dryRun?: boolean;
  readonly verbose?: boolean;
  readonly listDisks?: boolean;
  /** Bytes that a new or grown image file gets. */
  readonly size?: number;
  readonly minSize?: number;
  /** In order of preference. */
  readonly match?: readonly Hint[];
  readonly never?: readonly Hint[];
  readonly wipeMembers?: 'own' | 'foreign';
  /** Seconds. */
  readonly wait: number;
  readonly savePartlabel?: readonly string[];
  readonly savePartindex?: readonly NumberRange[];
  readonly keyFingerprint?: string;
  readonly notOlderThan?: OldestImage;
  readonly ignitionUrl?: string;
  readonly ignitionHash?: string;
  readonly ignitionVersion?: string;
  readonly ignitionUnchecked?: boolean;
  /** `true` if no file stands directly after it. */
  readonly checkIgnition?: readonly string[] | true;
  readonly appendKarg?: readonly string[];
  readonly deleteKarg?: readonly string[];
  readonly platform?: string;
  readonly console?: readonly string[];
  readonly readBack?: boolean;
  readonly reread: boolean;
  readonly zeroOffload: boolean;
  readonly offline?: boolean;
  readonly insecure?: boolean;
  readonly json?: boolean;
  readonly logFile?: string;
  /** Bytes. */
  readonly zstdWindow?: number;
  readonly tries: number;
  readonly timeout: number;
}

/** The result of parsing: options, a request for a text about them, or an error. */
export type Parsed =
  | { readonly kind: 'options'; readonly options: Options }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'wrong'; readonly message: string };

/**
 * Parses the arguments that follow the program's name. Does not throw for invalid arguments.
 * @param columns width of the help
 */
export function parseOptions(
  args: readonly string[],
  defaults: ReleaseDefaults,
  site: SiteDefaults = noSite,
  columns = 80,
): Parsed {
  let help = '';
  const command = buildCommand(defaults, site)
    .configureHelp(helpLayout(columns))
    .exitOverride()
    .configureOutput({ writeOut: (text) => (help += text), writeErr: () => {} });
  try {
    command.parse(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { kind: 'text', text: help };
    return { kind: 'wrong', message: error.message.replace(/^error: /, '').replaceAll('\n', ' ') };
  }
  const { version, completion, ...options } = command.opts<Options & { version?: boolean; completion?: Shell }>();
  if (version === true) return { kind: 'wrong', message: "option '--version' must be the only one" };
  if (completion === undefined) return takeFiles(options, command.args);
  const given = command.options.filter((option) => command.getOptionValueSource(option.attributeName()) === 'cli');
  if (given.length + command.args.length > 1)
    return { kind: 'wrong', message: "option '--completion' must be the only one" };
  return { kind: 'text', text: completionScript(completion, command, suggestions) };
}

/** Words for the values of options, by attribute name. */
const suggestions: Readonly<Record<string, readonly string[]>> = {
  board: ['amd64-usr', 'arm64-usr'],
  channel: ['stable', 'beta', 'alpha', 'lts'],
  completion: shells,
  platform: platforms,
  releaseVersion: ['current'],
  wipeMembers: ['foreign'],
};

/** Files to check may also stand after the other options: `--check-ignition --json FILE…`. */
function takeFiles({ checkIgnition, ...options }: Options, operands: readonly string[]): Parsed {
  if (checkIgnition === undefined) {
    const [stray] = operands;
    return stray === undefined ? { kind: 'options', options } : { kind: 'wrong', message: `'${stray}' is no option` };
  }
  const files = [...(checkIgnition === true ? [] : checkIgnition), ...operands];
  if (files.length === 0) return { kind: 'wrong', message: 'no file is given with --check-ignition' };
  return { kind: 'options', options: { ...options, checkIgnition: files } };
}

function buildCommand(defaults: ReleaseDefaults, site: SiteDefaults): Command {
  const { board, channel, version, oem } = defaults;
  return new Command('flatcar-install')
    .description(
      'Installs Flatcar Container Linux on a disk. Downloads, verifies and writes the image in one pass. The partition table is written last, after the ' +
        'signature is verified.',
    )
    .usage('-d DEVICE | -s | -D  [options]')
    .optionsGroup('Target:')
    .option('-d, --device <device>', 'install to this disk, or to this file, which needs no root')
    .option('--size <size>', 'with -d: make the file, or let it grow, to this size, such as 10GiB', parseSize)
    .option('-s, --smallest', 'install to the smallest unused disk larger than 10 GB (overrides -d)')
    .option(
      '-I, --include-majors <numbers>',
      'with -s: only disks with these major numbers, such as 8,259',
      parseMajors,
    )
    .addOption(
      new Option('-e, --exclude-majors <numbers>', 'with -s: no disks with these major numbers; not with -I')
        .argParser(parseMajors)
        .conflicts('includeMajors'),
    )
    .option('--min-size <size>', 'only a disk larger than this, such as 20GB or 16GiB (with -s: 10GB)', parseSize)
    .option(
      '--match <hint>',
      'with -s: only a disk like this, such as model=Samsung*,size>=400GB,rotational=no; may be repeated, the first that fits counts',
      collectHint,
    )
    .option('--never <hint>', 'no disk like this, such as transport=usb or serial=S3Z*; may be repeated', collectHint)
    .addOption(
      new Option(
        '--wipe-members [which]',
        'with -s: also disks with signatures of RAID, LVM, LUKS and the like, which are erased everywhere on the disk (also with -d); =foreign: also those of VMFS, GPFS, GFS2, OCFS2, Ceph and ZFS',
      )
        .preset('own')
        .argParser(parseMembers),
    )
    .option(
      '--wait <seconds>',
      'wait so long for a disk that fits: controllers may be late',
      parseSeconds,
      site.waitSeconds,
    )
    .option(
      '--save-partlabel <patterns>',
      'keep the partitions of the disk with these labels, such as data,var-*; may be repeated',
      collectList,
    )
    .option(
      '--save-partindex <ranges>',
      'keep the partitions of the disk with these numbers, such as 5,8-10 or 9-; may be repeated',
      collectRanges,
    )
    .option('-D, --download-only', 'only download the image to the current directory and verify it')
    .option('--list-disks', 'list the disks, which one -s would select, and why not the others')
    .optionsGroup('Image:')
    .option('-V, --release-version <version>', `version to install (default: ${version})`)
    .option('-B, --board <board>', `board to install (default: ${board})`)
    .option('-C, --channel <channel>', `channel to install: stable, beta, alpha, lts (default: ${channel})`)
    .option('-o, --oem <oem>', `OEM image to install, '' for none (default: ${oem === '' ? 'none' : oem})`)
    .option(
      '-b, --base-url <url>',
      `mirror to download from: <url>/<version>/flatcar_production_image.bin.bz2; may be repeated; if one fails, the next is used${ofSite(site.baseUrls.join(', '))}`,
      collect,
    )
    .option(
      '-f, --image-file <file>',
      'install this local image, - for standard input; it is verified if its signature is in FILE.sig',
    )
    .option('--image-url <url>', 'install the image at this URL; its signature is at URL.sig')
    .optionsGroup('Trust:')
    .option('-k, --key <file>', `trust the signing keys in this file instead of Flatcar's${ofSite(site.keyFile)}`)
    .option('--key-fingerprint <fingerprint>', 'trust only the primary key with this fingerprint', parseFingerprint)
    .option(
      '--not-older-than <limit>',
      'refuse an image older than this version, such as 4230.2.1, or signed before this date, such as 2025-10-01',
      parseOldest,
    )
    .option(
      '--sha512 <hex>',
      'verify the image, as it is downloaded, by this hash instead of a signature',
      parseDigest('sha512'),
    )
    .option('--sha256 <hex>', 'the same with SHA-256', parseDigest('sha256'))
    .option('--insecure', 'accept an image without a signature; a bad signature is still refused')
    .optionsGroup('Configuration of the installed system:')
    .option('-i, --ignition <file>', 'Ignition config, - for standard input')
    .option('--ignition-url <url>', 'Ignition config to download now; over http only with --ignition-hash')
    .option('--ignition-hash <hash>', 'required hash of the Ignition config: sha512-HEX or sha256-HEX')
    .option(
      '--ignition-version <version>',
      'check the config as this Ignition reads it, such as 2.24.0, instead of that of the release',
    )
    .option('--ignition-unchecked', 'install the config although Ignition would refuse it at first boot')
    .option('-c, --cloud-config <file>', 'cloud-config')
    .option('--append-karg <argument>', 'kernel argument for every boot; may be repeated', collect)
    .option('--delete-karg <argument>', 'remove this kernel argument of the image; may be repeated', collect)
    .option('--platform <id>', 'platform of the machine for Ignition, such as metal, qemu or vmware', parsePlatform)
    .option(
      '--console <console>',
      'kernel console, such as ttyS0,115200n8, instead of those of the image; may be repeated',
      collect,
    )
    .option('-n, --copy-network', 'copy the network units of the running system (/run/systemd/network)')
    .option('-u, --uefi-entry', 'add a boot entry to the UEFI firmware')
    .optionsGroup('Behaviour:')
    .option(
      '--check-ignition [files...]',
      'only check these Ignition configs, as the release of -V or the Ignition of --ignition-version reads them',
    )
    .option('-y, --dry-run', 'dry run: check everything that needs no network, show the settings, write nothing')
    .option('--offline', 'use local files only, and name what would have to be downloaded')
    .option('--read-back', 'read the disk back and compare it with what was written, before it can boot')
    .option('--no-reread', 'do not rescan the partition table')
    .option(
      '--no-zero-offload',
      'write zeroes instead of punching them, for disks whose write-zeroes command is unreliable',
    )
    .option(
      '--zstd-window <size>',
      'memory for the window of a zstd image, up to 2GiB (default: 128MiB)',
      parseZstdWindow,
    )
    .option('--json', 'report progress and result as JSON lines on standard output')
    .option('--log-file <file>', 'append all output to this file, too')
    .option('--tries <number>', 'attempts without progress before a download fails', parsePositive, 10)
    .option('--timeout <seconds>', 'seconds without data from the server before the next attempt', parsePositive, 20)
    .option('-t, --temp-dir <directory>', 'ignored; kept for compatibility')
    .option('-v, --verbose', 'more output, and the stack of an error')
    .option('--completion <shell>', `print the completions of a shell: ${shells.join(', ')}`, parseShell)
    .option('--version', 'show the version of this program; no other option may be given')
    .helpOption('-h, --help', 'show this help')
    .allowExcessArguments();
}

function parseShell(text: string): Shell {
  const shell = shells.find((one) => one === text);
  if (shell === undefined) throw new InvalidArgumentError(`Give one of ${shells.join(', ')}.`);
  return shell;
}

/** A default of a system that was prepared for a site. */
function ofSite(value = ''): string {
  return value === '' ? '' : ` (site default: ${value})`;
}

function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value];
}

function collectList(value: string, previous: readonly string[] = []): string[] {
  const parts = value.split(',').filter((part) => part !== '');
  if (parts.length === 0) throw new InvalidArgumentError('Give labels separated by commas, such as data,var-*.');
  return [...previous, ...parts];
}

/** As coreos-installer: 5, 8-10, 9- and -3. */
function collectRanges(value: string, previous: readonly NumberRange[] = []): NumberRange[] {
  const ranges = value.split(',').map((part): NumberRange => {
    const [, from, hyphen, to] = /^(\d*)(-?)(\d*)$/.exec(part.trim()) ?? [];
    const first = from === '' ? 1 : Number(from);
    const last = to === '' ? (hyphen === '' ? first : Number.POSITIVE_INFINITY) : Number(to);
    if (from === undefined || (from === '' && to === '') || first < 1 || last < first)
      throw new InvalidArgumentError('Give numbers and ranges separated by commas, such as 5,8-10.');
    return { first, last };
  });
  return [...previous, ...ranges];
}

function parseMajors(text: string): number[] {
  if (!/^\d+(,\d+)*$/.test(text)) throw new InvalidArgumentError('Give numbers separated by commas, such as 8,259.');
  return text.split(',').map(Number);
}

function parseSize(text: string): number {
  const bytes = parseBytes(text);
  if (bytes === undefined) throw new InvalidArgumentError('Give a size such as 20GB or 16GiB.');
  return bytes;
}

function collectHint(text: string, previous: readonly Hint[] = []): Hint[] {
  const hint = parseHint(text);
  if ('wrong' in hint) throw new InvalidArgumentError(`${hint.wrong}.`);
  return [...previous, hint];
}

function parseMembers(text: string): 'own' | 'foreign' {
  if (text === 'own' || text === 'foreign') return text;
  throw new InvalidArgumentError('Give nothing, or foreign.');
}

function parseSeconds(text: string): number {
  const number = Number(text);
  if (text.trim() === '' || !Number.isFinite(number) || number < 0 || number > 1e6)
    throw new InvalidArgumentError('Give a number of seconds.');
  return number;
}

/** From the smallest window to the largest of libzstd (`ZSTD_WINDOWLOG_MAX`). */
function parseZstdWindow(text: string): number {
  const bytes = parseSize(text);
  if (bytes >= 2 ** 10 && bytes <= 2 ** 31) return bytes;
  throw new InvalidArgumentError('Give a size from 1KiB to 2GiB.');
}

function parseFingerprint(text: string): string {
  const digits = text.replaceAll(' ', '').toUpperCase();
  if (/^(0X)?([0-9A-F]{40}|[0-9A-F]{64})$/.test(digits)) return digits.replace(/^0X/, '');
  throw new InvalidArgumentError('Give all 40 hexadecimal digits, as gpg --fingerprint shows them.');
}

function parseDigest(algorithm: Hash['algorithm']): (text: string) => Hash {
  const digits = algorithm === 'sha512' ? 128 : 64;
  return (text) => {
    if (text.length === digits && /^[0-9a-f]+$/i.test(text)) return { algorithm, digest: text.toLowerCase() };
    throw new InvalidArgumentError(`Give ${digits} hexadecimal digits, as ${algorithm}sum shows them.`);
  };
}

function parsePlatform(text: string): string {
  if (/^[a-z][a-z0-9_-]*$/.test(text)) return text;
  throw new InvalidArgumentError('Give an ID such as metal, qemu or vmware.');
}

function parseOldest(text: string): OldestImage {
  if (isVersion(text)) return { kind: 'version', version: text };
  const date = /^\d{4}-\d\d-\d\d(T[\d:.]+Z)?$/.test(text) ? new Date(text) : undefined;
  if (date !== undefined && !Number.isNaN(date.getTime())) return { kind: 'date', date };
  throw new InvalidArgumentError('Give a version such as 4230.2.1 or a date such as 2025-10-01.');
}

function parsePositive(text: string): number {
  const number = Number(text);
  if (!Number.isFinite(number) || number <= 0) throw new InvalidArgumentError('Give a number greater than zero.');
  return number;
}
