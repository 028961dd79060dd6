import { createPrivateKey } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { BlockList, isIP } from 'node:net';
import { join, resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { z } from 'zod';
import { OperationError } from '../errors/operation-error.ts';
import { reasonOf } from '../errors/reason.ts';
import { withoutBrackets } from '../net/authority.ts';
import { parseCertificates } from '../net/pem.ts';

/** A host that has a registry's images: the registry itself, or a mirror of it. */
export interface RegistryHost {
  /**
   * Where the distribution API is, without a slash at its end; usually `https://host[:port]/v2`.
   */
  readonly url: URL;
  /** It is the registry in the names of the images: the only one that receives the credentials. */
  readonly isRegistry: boolean;
  /** Whether it is asked for the digest of a tag. */
  readonly resolves: boolean;
  /** Whether it is asked for content. */
  readonly pulls: boolean;
  readonly tls: RegistryTls;
  /** Plain HTTP is used where it does not speak TLS. */
  readonly allowsPlainHttp: boolean;
  /** Sent along with every request. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
}

/** All PEM texts. */
export interface RegistryTls {
  /** Trusted in addition to those that the machine trusts. */
  readonly authorities: readonly string[];
  readonly clientCertificates: readonly { readonly certificate: string; readonly key: string }[];
  readonly verify: boolean;
}

/**
 * Directories with a directory for each registry, named by its `host[:port]`. They need not exist.
 */
export interface RegistryDirectories {
  /**
   * containerd's: `hosts.toml` or certificates; `_default` stands for registries without a
   * directory.
   */
  readonly registryConfigPath: string;
  /**
   * The Docker Engine's: certificates, for hosts that have none in the other one. Default: none.
   */
  readonly dockerCertsPath?: string | undefined;
}

/** A file of the registry configuration cannot be used. */
export class RegistryConfigError extends OperationError {
  override readonly name = 'RegistryConfigError';
}

const oneOrMore = z.union([z.string(), z.array(z.string())]).transform((value) => [value].flat());
const certificateAndKey = z.tuple([z.string(), z.string()]);
/** A file of its own has both certificate and key. */
const inOneFile = z.string().transform((file): [string, string] => [file, file]);

/** Settings of a host. */
const hostSchema = z.object({
  capabilities: z
    .array(
      z
        .string()
        .toLowerCase()
        .pipe(z.enum(['pull', 'resolve', 'push'])),
    )
    .optional(),
  ca: oneOrMore.optional(),
  client: z
    .union([inOneFile.transform((pair) => [pair]), z.array(z.union([inOneFile, certificateAndKey]))], {
      error: 'must be a file with certificate and key, or a list of [certificate, key]',
    })
    .optional(),
  skip_verify: z.boolean().optional(),
  override_path: z.boolean().default(false),
  header: z.record(z.string(), oneOrMore).default({}),
});

/**
 * Format: containerd's `hosts.toml` (its docs/hosts.md). Mirrors are asked in the order of the
 * file, then the server.
 */
const hostsSchema = hostSchema.extend({
  server: z.string().optional(),
  host: z.record(z.string(), hostSchema).default({}),
});

type HostConfig = z.output<typeof hostSchema>;

/**
 * The hosts of a registry's images, in the order in which they are asked.
 * @param registry `host[:port]` as in the names of its images.
 * @throws {RegistryConfigError}
 */
export async function registryHosts(registry: string, directories: RegistryDirectories): Promise<RegistryHost[]> {
  for (const name of directoryNames(registry)) {
    const directory = join(directories.registryConfigPath, name);
    const files = await list(directory);
    if (files === undefined) continue;
    if (files.includes('hosts.toml')) return await fromHostsFile(registry, directory, directories);
    const { ca, client } = certificateFiles(files);
    return [await describe(registry, undefined, { ...noSettings, ca, client }, directory, directories)];
  }
  return [await describe(registry, undefined, noSettings, '/', directories)];
}

const noSettings: HostConfig = hostSchema.parse({});

/** containerd accepts `host_port_` too, for file systems that have no colons. */
function directoryNames(registry: string): string[] {
  const withoutColon = registry.replace(/:(\d+)$/, '_$1_');
  return [...new Set([withoutColon, registry, '_default'])];
}

async function fromHostsFile(
  registry: string,
  directory: string,
  directories: RegistryDirectories,
): Promise<RegistryHost[]> {
  const { server, host: mirrors, ...settings } = await readHostsFile(join(directory, 'hosts.toml'));
  const hosts = [...Object.entries(mirrors), [server, settings] as const];
  return await Promise.all(hosts.map(([host, own]) => describe(registry, host, own, directory, directories)));
}

async function readHostsFile(path: string): Promise<z.output<typeof hostsSchema>> {
  const text = await read(path);
  const parsed = hostsSchema.safeParse(parseToml(path, text));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const keys = (issue?.path ?? []).map(String);
  throw configError(`${path}, line ${lineOf(keys, text)}`, `${keys.join('.')}: ${issue?.message}`);
}

function parseToml(path: string, text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // Its other lines quote the file.
    const [reason] = error.message.split('\n');
    throw configError(`${path}, line ${error.line}`, reason ?? '', error);
  }
}

/**
 * The parser does not say where it found a key: each is looked for behind the one that it belongs
 * to.
 */
function lineOf(keys: readonly string[], text: string): number {
  const lines = text.split('\n');
  let found = 0;
  for (const key of keys) {
    const next = lines.findIndex((line, index) => index >= found && names(line, key));
    if (next >= 0) found = next;
  }
  return found + 1;
}

function names(line: string, key: string): boolean {
  const at = line.indexOf(key);
  return at >= 0 && !/\w/.test(line.charAt(at + key.length));
}

/**
 * @param host As the file names it; `undefined`: the registry itself.
 * @param directory Paths of files are relative to it.
 */
async function describe(
  registry: string,
  host: string | undefined,
  settings: HostConfig,
  directory: string,
  directories: RegistryDirectories,
): Promise<RegistryHost> {
  const url = apiUrl(host ?? registry, settings.override_path, directory);
  const { ca = [], client = [], skip_verify: skipVerify, capabilities = ['pull', 'resolve'] } = settings;
  const hasNoTlsSettings = ca.length === 0 && client.length === 0 && skipVerify === undefined;
  const certificates = hasNoTlsSettings
    ? await dockerCertificates(url.host, registry, directories.dockerCertsPath)
    : await readCertificates(ca, client, directory);
  // Like the Docker Engine: a connection to this machine itself cannot be intercepted.
  const isLenient = hasNoTlsSettings && certificates.authorities.length === 0 && isThisMachine(url.hostname);
  return {
    url,
    isRegistry: url.host === new URL(`${url.protocol}//${apiHost(registry)}`).host,
    resolves: capabilities.includes('resolve') && capabilities.includes('pull'),
    pulls: capabilities.includes('pull'),
    tls: { ...certificates, verify: skipVerify !== true && !isLenient },
    allowsPlainHttp: isLenient,
    headers: settings.header,
  };
}

function apiUrl(host: string, overridesPath: boolean, directory: string): URL {
  const text = /^https?:\/\//.test(host) ? host : `https://${host}`;
  if (!URL.canParse(text)) throw configError(join(directory, 'hosts.toml'), `${host} is not a URL`);
  const url = new URL(text);
  url.host = apiHost(url.host);
  const path = url.pathname.replace(/\/+$/, '');
  url.pathname = overridesPath || path.endsWith('/v2') ? path : `${path}/v2`;
  return url;
}

/** Docker Hub's API is not where its name says. */
function apiHost(host: string): string {
  return host === 'docker.io' ? 'registry-1.docker.io' : host;
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

function isThisMachine(hostname: string): boolean {
  const address = withoutBrackets(hostname);
  return (
    address === 'localhost' || (isIP(address) !== 0 && loopback.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4'))
  );
}

type Certificates = Pick<RegistryTls, 'authorities' | 'clientCertificates'>;

const noCertificates: Certificates = { authorities: [], clientCertificates: [] };

/** Docker Hub's are looked for by its name in images, too. */
async function dockerCertificates(
  host: string,
  registry: string,
  dockerCertsPath: string | undefined,
): Promise<Certificates> {
  if (dockerCertsPath === undefined) return noCertificates;
  const names = host === apiHost(registry) ? [host, registry] : [host];
  for (const name of names) {
    const directory = join(dockerCertsPath, name);
    const files = await list(directory);
    if (files === undefined) continue;
    const { ca, client } = certificateFiles(files);
    return await readCertificates(ca, client, directory);
  }
  return noCertificates;
}

/** Docker's rule: `*.crt` are authorities, `x.cert` is a client certificate and `x.key` its key. */
function certificateFiles(files: readonly string[]): { ca: string[]; client: [string, string][] } {
  const ending = (end: string) => files.filter((file) => file.endsWith(end)).sort();
  return {
    ca: ending('.crt'),
    client: ending('.cert').map((file) => [file, file.replace(/\.cert$/, '.key')]),
  };
}

async function readCertificates(
  authorities: readonly string[],
  pairs: readonly (readonly [string, string])[],
  directory: string,
): Promise<Certificates> {
  const readAs = (file: string, check: (pem: string) => unknown) => readPem(resolve(directory, file), check);
  return {
    authorities: await Promise.all(authorities.map((file) => readAs(file, parseCertificates))),
    clientCertificates: await Promise.all(
      pairs.map(async ([certificate, key]) => ({
        certificate: await readAs(certificate, parseCertificates),
        key: await readAs(key, createPrivateKey),
      })),
    ),
  };
}

async function readPem(path: string, check: (pem: string) => unknown): Promise<string> {
  const pem = await read(path);
  try {
    check(pem);
    return pem;
  } catch (error) {
    throw configError(path, `it must be in PEM format: ${reasonOf(error)}`, error);
  }
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw configError(path, reasonOf(error), error, 'read');
  }
}

/** The names of the files in a directory; `undefined` if there is no such directory. */
async function list(directory: string): Promise<string[] | undefined> {
  try {
    return await readdir(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw configError(directory, reasonOf(error), error, 'read');
  }
}

function configError(target: string, why: string, cause?: unknown, what = 'use'): RegistryConfigError {
  return new RegistryConfigError({ what, target, why, cause });
}
