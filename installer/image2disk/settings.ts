import { isAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import { reasonOf } from '../../errors/reason.ts';
import { type ImageReference, parseReference } from '../../registry/image-reference.ts';
import { parseHint } from '../disk/hints.ts';
import { InstallError } from '../errors.ts';
import type { Hash, Target } from '../plan.ts';
import { parseBytes } from '../size.ts';
import type { RegistryOrigin } from './registry-image.ts';

/** What the variables of the environment say. */
export interface Settings {
  readonly image: ImageOrigin;
  readonly target: Target;
  /** As `COMPRESSED` says. The content decides. */
  readonly compressed: boolean | undefined;
  /** How long to try again after a failure; 0: not at all. */
  readonly retryMinutes: number;
  readonly progressSeconds: number;
  /** Of the image as it is transferred; all must match. */
  readonly hashes: readonly Hash[];
  /** File of hashes of images, in the form of SHA256SUMS. */
  readonly checksumUrl: URL | undefined;
  readonly signature: SignatureSettings | undefined;
  /** Compare the disk with what was written. */
  readonly readBack: boolean;
  /** Move the backup of the partition table to the end of the disk. */
  readonly growTable: boolean;
}

export type ImageOrigin =
  | { readonly kind: 'urls'; readonly urls: readonly URL[] }
  | { readonly kind: 'file'; readonly path: string }
  | RegistryOrigin;

export interface SignatureSettings {
  readonly url: URL;
  /** OpenPGP public keys: a path, or the armoured text itself. */
  readonly key: string | undefined;
}

type Environment = Readonly<NodeJS.ProcessEnv>;

const defaultRetryMinutes = 10;
const defaultProgressSeconds = 3;

/**
 * Reads the variables. Wrong values of those of the original have the default, as there.
 * @param onOdd called with what is wrong with a value that has the default instead
 * @param waitSeconds the default of `DEST_WAIT_SECONDS`
 * @throws {InstallError} a variable is missing, or one that the original does not have is wrong
 */
export function readSettings(
  environment: Environment,
  onOdd: (message: string) => void,
  waitSeconds: number,
): Settings {
  const flag = (name: string) => readFlag(name, environment[name], onOdd);
  const number = (name: string, fallback: number) => readNumber(name, environment[name], fallback, onOdd);
  checkFormat(environment, onOdd);
  return {
    image: readOrigin(required('IMG_URL', environment), environment, flag('SKIP_VERIFY') !== true),
    target: readTarget(required('DEST_DISK', environment), environment, waitSeconds),
    compressed: flag('COMPRESSED'),
    retryMinutes: flag('RETRY_ENABLED') === true ? number('RETRY_DURATION_MINUTES', defaultRetryMinutes) : 0,
    progressSeconds: number('PROGRESS_INTERVAL_SECONDS', defaultProgressSeconds),
    hashes: [...readHash('sha256', environment), ...readHash('sha512', environment)],
    checksumUrl: readUrl('IMG_CHECKSUM_URL', environment),
    signature: readSignature(environment),
    readBack: flag('READ_BACK') === true,
    growTable: flag('GROW_GPT') === true,
  };
}

/** Variables of `qemuimg2disk`, which hands them to qemu-img. */
function checkFormat({ FORMAT: format = '', EXTRA_ARGS: args = '' }: Environment, onOdd: (message: string) => void) {
  if (!['', 'raw', 'host_device'].includes(format))
    throw wrong('FORMAT', format, 'only raw and host_device can be written', 'leave it out');
  if (args !== '') onOdd('EXTRA_ARGS is not used: there is no qemu-img');
}

/** The words of Go's strconv.ParseBool, which the original uses. */
const truths: Readonly<Record<string, boolean>> = {
  ...{ 1: true, t: true, T: true, true: true, TRUE: true, True: true },
  ...{ 0: false, f: false, F: false, false: false, FALSE: false, False: false },
};

/** @returns `undefined` if it is not set */
export function readFlag(
  name: string,
  text: string | undefined,
  onOdd: (message: string) => void,
): boolean | undefined {
  if (text === undefined || text === '') return undefined;
  const value = Object.hasOwn(truths, text) ? truths[text] : undefined;
  if (value === undefined) onOdd(`${name}=${text} is neither true nor false, so it is false`);
  return value ?? false;
}

function readNumber(
  name: string,
  text: string | undefined,
  fallback: number,
  onOdd: (message: string) => void,
): number {
  if (text === undefined || text === '') return fallback;
  if (/^\d{1,6}$/.test(text) && Number(text) > 0) return Number(text);
  onOdd(`${name}=${text} is no number from 1 to 999999, so it is ${fallback}`);
  return fallback;
}

function required(name: string, environment: Environment): string {
  const value = environment[name] ?? '';
  if (value !== '') return value;
  throw new InstallError({
    what: 'write',
    target: 'an image',
    why: `${name} is not set`,
    hint: `give ${name} in the environment of the action; see --help`,
  });
}

function wrong(name: string, value: string, why: string, hint: string): InstallError {
  return new InstallError({ what: 'use', target: `${name}=${value}`, why, hint });
}

/** @param verify of the certificate of a registry */
function readOrigin(text: string, environment: Environment, verify: boolean): ImageOrigin {
  const words = text.split(/\s+/).filter((word) => word !== '');
  const [first = '', ...others] = words;
  if (isAbsolute(first) && others.length === 0) return { kind: 'file', path: first };
  const reference = others.length === 0 ? readReference(first) : undefined;
  if (reference !== undefined) return { kind: 'registry', reference, login: readLogin(environment), verify };
  const urls = words.map((word) => {
    const url = URL.parse(word);
    if (url !== null && ['http:', 'https:'].includes(url.protocol)) return url;
    if (url?.protocol === 'file:' && others.length === 0) return url;
    throw wrong(
      'IMG_URL',
      word,
      'it is no URL of HTTP',
      'give a URL such as http://192.168.1.2/ubuntu.raw.gz, or a name such as registry.example/debian:raw.gz',
    );
  });
  const [url] = urls;
  if (url?.protocol !== 'file:') return { kind: 'urls', urls };
  try {
    return { kind: 'file', path: fileURLToPath(url) };
  } catch (cause) {
    throw wrong('IMG_URL', url.href, reasonOf(cause), 'give the path of the image');
  }
}

/**
 * The name of an image in a registry, which must name its host: `registry.example/debian:raw.gz`.
 * With `oci://` the host may be left out.
 * @returns `undefined` if it is something else
 */
function readReference(text: string): ImageReference | undefined {
  const [, scheme, name = ''] = /^(oci:\/\/)?(.*)$/.exec(text) ?? [];
  if (scheme === undefined && (name.includes('://') || !/^(localhost|[^/]*[.:][^/]*)\/./.test(name))) return undefined;
  try {
    return parseReference(name);
  } catch (error) {
    throw wrong('IMG_URL', text, reasonOf(error), 'give a URL, or a name such as registry.example/debian:raw.gz');
  }
}

/** As the original, only with both. */
function readLogin({ REGISTRY_USERNAME: username = '', REGISTRY_PASSWORD: password = '' }: Environment) {
  return username === '' || password === '' ? undefined : { username, password };
}

function readTarget(text: string, environment: Environment, defaultWaitSeconds: number): Target {
  const never = environment['DEST_NEVER'];
  const limits = {
    minBytes: readSize('DEST_MIN_SIZE', environment),
    never: never === undefined || never === '' ? undefined : [readHint('DEST_NEVER', never)],
    waitSeconds: readWait(environment['DEST_WAIT_SECONDS'], defaultWaitSeconds),
    wipeMembers: readMembers(environment['DEST_WIPE_MEMBERS']),
  };
  if (isAbsolute(text)) return { kind: 'device', path: text, ...limits };
  if (text === 'smallest') return { kind: 'smallest', ...limits };
  return { kind: 'smallest', match: [readHint('DEST_DISK', text)], ...limits };
}

function readHint(name: string, text: string) {
  const hint = parseHint(text);
  if ('wrong' in hint)
    throw wrong(name, text, hint.wrong, 'give the path of a disk, smallest, or conditions such as size>=400GB');
  return hint;
}

function readMembers(text: string | undefined): 'own' | 'foreign' | undefined {
  if (text === undefined || text === '') return undefined;
  if (text === 'own' || text === 'foreign') return text;
  throw wrong('DEST_WIPE_MEMBERS', text, 'it is neither own nor foreign', 'give one of them, or leave it out');
}

function readSize(name: string, environment: Environment): number | undefined {
  const text = environment[name];
  if (text === undefined || text === '') return undefined;
  const bytes = parseBytes(text);
  if (bytes === undefined) throw wrong(name, text, 'it is no size', 'give one such as 20GB or 16GiB');
  return bytes;
}

function readWait(text: string | undefined, fallback: number): number {
  if (text === undefined || text === '') return fallback;
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw wrong('DEST_WAIT_SECONDS', text, 'it is no number of seconds', 'give one such as 30');
}

function readHash(algorithm: Hash['algorithm'], environment: Environment): Hash[] {
  const name = `IMG_${algorithm.toUpperCase()}`;
  const text = environment[name]?.trim() ?? '';
  if (text === '') return [];
  const digits = algorithm === 'sha256' ? 64 : 128;
  if (/^[0-9a-f]+$/i.test(text) && text.length === digits) return [{ algorithm, digest: text.toLowerCase() }];
  throw wrong(name, text, `it does not have ${digits} hexadecimal digits`, `take it from ${algorithm}sum`);
}

function readUrl(name: string, environment: Environment): URL | undefined {
  const text = environment[name];
  if (text === undefined || text === '') return undefined;
  const url = URL.parse(text);
  if (url !== null && ['http:', 'https:'].includes(url.protocol)) return url;
  throw wrong(name, text, 'it is no URL of HTTP', 'give a URL such as https://images.example.com/SHA256SUMS');
}

function readSignature(environment: Environment): SignatureSettings | undefined {
  const url = readUrl('IMG_SIG_URL', environment);
  const key = environment['IMG_SIG_KEY'];
  if (url !== undefined) return { url, key: key === '' ? undefined : key };
  if (key === undefined || key === '') return undefined;
  throw wrong(
    'IMG_SIG_KEY',
    '…',
    'there is no signature to check with it',
    'give the URL of the signature: IMG_SIG_URL',
  );
}
