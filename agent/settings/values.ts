import { z } from 'zod';
import { type Authority, formatAuthority, parseAuthority } from '../../net/authority.ts';
import { ProxyError, parseProxy } from '../../net/proxy.ts';
import { Secret } from '../log/redact.ts';

// What the text of a setting may be, and what comes out of it.

/** What no argument of a program can contain. */
export const repetition = '\0';

export const string = () => z.string('must be text').trim().min(1, 'must not be empty');

export const absolutePath = () => string().startsWith('/', 'must be a path from the root, for example /boot/vmlinuz');

/** Several with commas between them, as in the kernel command line, or each in its own flag. */
export const absolutePaths = () =>
  z.preprocess(
    (value) => (typeof value === 'string' ? value.split(/[,\0]/) : value),
    z.array(absolutePath()).min(1, 'must not be empty'),
  );

/** A host and perhaps a port, which shows itself as it is written. */
class HostAndPort implements Authority {
  /** Without brackets. */
  readonly host: string;
  readonly port: number | undefined;

  constructor({ host, port }: Authority) {
    this.host = host;
    this.port = port;
  }

  toString(): string {
    return formatAuthority(this);
  }
}

/** @param example of how it should be written */
const hostAndPort = (example: string) =>
  string().transform((value, context) => {
    const authority = parseAuthority(value);
    if (authority !== undefined) return new HostAndPort(authority);
    context.addIssue(`must be host:port, for example ${example}`);
    return z.NEVER;
  });

/**
 * `host:port`, IPv6 in brackets.
 *
 * @param defaultPort where only a host is given
 */
export const authority = (defaultPort: number) =>
  hostAndPort(`192.168.1.1:${defaultPort} or [fd00::1]:${defaultPort}`).transform((address) =>
    address.port === undefined ? `${address}:${defaultPort}` : String(address),
  );

/** `undefined` for the word `off`. */
export const syslogHost = () =>
  z.union([z.literal('off').transform(() => undefined), hostAndPort('192.168.1.1:514, or only 192.168.1.1')]);

export const port = () =>
  z.coerce.number('must be a port').int('must be a port').min(1, 'must be a port').max(65535, 'must be a port');

/** A URL; without a scheme one of plain HTTP. */
export const httpUrl = () =>
  z.preprocess(
    (value) => (typeof value === 'string' && !value.includes('://') ? `http://${value.trim()}` : value),
    z.url({ protocol: /^https?$/, error: 'must be a URL, for example http://192.168.1.1:42114/cert' }),
  );

/**
 * Go's words for true and false (strconv.ParseBool), as the Go workers take them, and those of
 * YAML; a bare kernel parameter or flag is true.
 */
export const boolean = () =>
  z.preprocess((value) => {
    const word = String(value).trim().toLowerCase();
    if (['1', 't', 'true', 'y', 'yes', 'on'].includes(word)) return true;
    if (['0', 'f', 'false', 'n', 'no', 'off'].includes(word)) return false;
    return value;
  }, z.boolean('must be true or false'));

/**
 * A duration as Go writes it (`1m30s`, `500ms`), or a plain number of seconds; comes out as
 * seconds.
 */
export const duration = () =>
  z.preprocess(
    (value) => secondsOf(String(value)) ?? value,
    z
      .number('must be a duration, for example 5s, 1m30s or a number of seconds')
      .positive('must be more than 0')
      .max(31_536_000, 'must be at most a year'),
  );

function secondsOf(value: string): number | undefined {
  if (/^\d+(?:\.\d+)?$/.test(value)) return Number(value);
  if (!/^(?:\d+(?:\.\d+)?(?:ms|h|m|s))+$/.test(value)) return undefined;
  const unitSeconds: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 0.001 };
  let seconds = 0;
  for (const [, amount, unit] of value.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g))
    seconds += Number(amount) * (unitSeconds[unit ?? ''] ?? 0);
  return seconds;
}

export const choice = <const Words extends readonly [string, ...string[]]>(words: Words) =>
  z.enum(words, `must be ${words.length === 1 ? '' : 'one of '}${words.join(', ')}`);

/**
 * Lower case, colons: the form in which servers list hardware. Accepts iPXE's and PXELINUX's dashes
 * with their leading hardware type `01`.
 */
export const macAddress = () =>
  z.preprocess(
    (value) =>
      String(value)
        .toLowerCase()
        .replaceAll('-', ':')
        .replace(/^01:(?=(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$)/, ''),
    z.string().regex(/^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$/, 'must be a MAC address, for example 08:00:27:00:00:01'),
  );

/**
 * Where a NATS server is. Says of itself only that: its URL may have a password, or a token, in it.
 */
export class NatsServer {
  readonly url: Secret;
  readonly #place: string;
  readonly #secrets: readonly string[];

  /** @throws {TypeError} it is no URL, or one of another protocol */
  constructor(text: string) {
    const url = new URL(text.includes('://') ? text : `nats://${text}`);
    const { host, hostname, protocol, username, password } = url;
    if (hostname === '' || (protocol !== 'nats:' && protocol !== 'tls:'))
      throw new TypeError('it is no address of a NATS server');
    this.url = new Secret(text);
    this.#place = host;
    const secret = password || username;
    this.#secrets = secret === '' ? [] : [secret, decodeURIComponent(secret)];
  }

  /** What must not be seen, as it is in the URL and as it is meant. */
  secrets(): readonly string[] {
    return this.#secrets;
  }

  toString(): string {
    return this.#place;
  }
}

export const natsServer = () =>
  string().transform((value, context) => {
    try {
      return new NatsServer(value);
    } catch {
      context.addIssue(
        'must be host:port, or nats://user:password@host:port with special characters as in URLs, tls:// for TLS; other protocols are not supported',
      );
      return z.NEVER;
    }
  });

/** A proxy. Shows itself without the password in its URL. */
export class ProxyAddress {
  /** As given, if it is unusable. */
  readonly url: Secret;
  /** Why it is unusable: then nothing may go past it. */
  readonly problem: string | undefined;
  readonly #shown: string;
  readonly #password: string;

  /** @throws {ProxyError} unless the problem with it is given */
  constructor(text: string, problem?: string) {
    this.problem = problem;
    if (problem !== undefined) {
      this.url = new Secret(text);
      // All up to the last @: nothing tells where the password ends.
      this.#password = /^(?:[a-z][\w+.-]*:\/\/)?(?:[^:@]*:)?(.*)@/is.exec(text)?.[1] ?? '';
      this.#shown = '(unusable)';
      return;
    }
    const url = parseProxy(text);
    this.url = new Secret(url.href);
    this.#password = url.password || url.username;
    if (url.password !== '') url.password = '***';
    else if (url.username !== '') url.username = '***';
    this.#shown = url.href;
  }

  /** The password as it is in the URL and as it is sent. */
  secrets(): readonly string[] {
    if (this.#password === '') return [];
    return [this.#password, ...(this.problem === undefined ? [decodeURIComponent(this.#password)] : [])];
  }

  toString(): string {
    return this.#shown;
  }
}

export const proxyAddress = () =>
  string().transform((value, context) => {
    try {
      return new ProxyAddress(value);
    } catch (error) {
      if (!(error instanceof ProxyError)) throw error;
      context.addIssue(error.message);
      return z.NEVER;
    }
  });

/** A registry and another place of its images; `host[:port]` and `host[:port][/path]`. */
class Mirror {
  readonly of: string;
  readonly at: string;

  constructor(text: string) {
    const equals = text.indexOf('=');
    this.of = text.slice(0, equals);
    this.at = text.slice(equals + 1);
  }

  toString(): string {
    return `${this.of}=${this.at}`;
  }
}

/**
 * Who we are at each of several registries, by `host[:port]`. Says of itself only which there are.
 */
export class RegistryAccounts extends Map<string, { readonly username: string; readonly password: Secret }> {
  override toString(): string {
    return [...this.keys()].join(', ');
  }
}

/**
 * `NAME=VALUE` for each variable of a template. Says of itself only which there are: values may be
 * secrets.
 */
class TemplateVariables extends Map<string, string> {
  override toString(): string {
    return [...this.keys()].join(', ');
  }
}

/**
 * `REGISTRY=MIRROR`, several with commas between them, as in the kernel command line, or each in a
 * flag of its own.
 */
export const mirrors = () =>
  z.preprocess(
    (value) => (typeof value === 'string' ? value.split(/[,\0]/) : value),
    z
      .array(
        z.string().regex(/^[^=\s/]+=[^=\s]+$/, 'must be REGISTRY=MIRROR, for example docker.io=192.168.1.1:5000/hub'),
      )
      .transform((texts) => texts.map((text) => new Mirror(text))),
  );

/**
 * Several `HOST=USERNAME:PASSWORD` separated by spaces or each in a flag of its own; in a file a
 * mapping.
 */
export const registryAccounts = () =>
  z.preprocess(
    (value) => (typeof value === 'string' ? accountsOf(value) : value),
    z
      .record(
        z.string().regex(/^[^\s/=]+$/, 'must be host or host:port'),
        z.strictObject(
          { username: string(), password: string().transform((password) => new Secret(password)) },
          'must be a mapping with username and password',
        ),
        'must be HOST=USERNAME:PASSWORD',
      )
      .transform((accounts) => new RegistryAccounts(Object.entries(accounts))),
  );

/** `undefined`: it is not of that form. */
function accountsOf(text: string): unknown {
  const entries = text.split(/[\s\0]+/).filter((entry) => entry !== '');
  const found = entries.map((entry) => /^([^=]+)=([^:]+):(.+)$/.exec(entry));
  if (!found.every((match) => match !== null)) return undefined;
  return Object.fromEntries(found.map(([, host, username, password]) => [host, { username, password }]));
}

export const templateVariables = () =>
  z.preprocess(
    (value) =>
      typeof value !== 'string'
        ? value
        : Object.fromEntries(
            value.split(repetition).map((text) => [/^[^=]*(?==)/.exec(text)?.[0] ?? '', text.replace(/^[^=]*=/, '')]),
          ),
    z
      .record(
        z.string().regex(/^[\p{L}_][\p{L}\p{N}_]*$/u),
        z.union([z.string(), z.number(), z.boolean()]).transform(String),
        'must be NAME=VALUE, the name of letters, digits and underscores',
      )
      .transform((values) => new TemplateVariables(Object.entries(values))),
  );

/**
 * The level names of tink-worker (logrus) and the verbosity numbers of tink-agent, in pino's words.
 */
export const logLevel = () =>
  z.preprocess(
    (value) => {
      const word = String(value).toLowerCase();
      if (/^\d+$/.test(word)) return ['info', 'debug'][Number(word)] ?? 'trace';
      return word === 'panic' ? 'fatal' : word === 'warning' ? 'warn' : word;
    },
    choice(['fatal', 'error', 'warn', 'info', 'debug', 'trace']),
  );

/** A path of a socket or a URL of the Docker API, as a URL. */
export const dockerHost = () =>
  z.preprocess(
    (value) => (typeof value === 'string' && value.startsWith('/') ? `unix://${value}` : value),
    z
      .string('must be text')
      .regex(
        /^(?:unix:\/\/\/|tcp:\/\/|https?:\/\/)./,
        'must be unix:///path, tcp://host:port, or the path of a socket',
      ),
  );
