import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { BlockList, isIP } from 'node:net';
import { join, resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { z } from 'zod';
import { withoutBrackets } from '../../../../net/authority.ts';

/** A place that a registry's images are asked for: the registry itself, or a mirror of it. */
export interface RegistryHost {
  /** Where the distribution API is, without a slash at its end; usually `https://host[:port]/v2`. */
  readonly url: URL;
  /** It is the registry that the images are named by: the only one that gets its credentials. */
  readonly isRegistry: boolean;
  /** Whether it is asked what a tag means. */
  readonly resolves: boolean;
  /** Whether it is asked for content. */
  readonly pulls: boolean;
  readonly tls: RegistryTls;
  /** Where no TLS is spoken, plain HTTP will do. */
  readonly plainHttpWillDo: boolean;
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

/** Directories with a directory for each registry, named by its `host[:port]`. They need not exist. */
export interface RegistryDirectories {
  /** containerd's: `hosts.toml` or certificates; `_default` stands for registries without a directory. */
  readonly registryConfigPath: string;
  /** The Docker Engine's: certificates, for places that have none in the other one. Default: none. */
  readonly dockerCertsPath?: string | undefined;
}

/** A file of the registry configuration that cannot be used. The message names it. */
export class RegistryConfigError extends Error {
  override readonly name = 'RegistryConfigError';
}

const oneOrMore = z.union([z.string(), z.array(z.string())]).transform((value) => [value].flat());
const certificateAndKey = z.tuple([z.string(), z.string()]);
/** A file of its own has both certificate and key. */
const inOneFile = z.string().transform((file): [string, string] => [file, file]);

/** What can be said of a place. */
const placeSchema = z.object({
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

/** Format: containerd's `hosts.toml` (its docs/hosts.md). Mirrors are asked in the order of the file, then the server. */
const hostsSchema = placeSchema.extend({
  server: z.string().optional(),
  host: z.record(z.string(), placeSchema).default({}),
});

type Place = z.output<typeof placeSchema>;

/**
 * Where the images of a registry are to be asked for, in order.
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

const noSettings: Place = placeSchema.parse({});

/** containerd takes `host_port_` too, for file systems that have no colons. */
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
  const places = [...Object.entries(mirrors), [server, settings] as const];
  return await Promise.all(places.map(([place, own]) => describe(registry, place, own, directory, directories)));
}

async function readHostsFile(path: string): Promise<z.output<typeof hostsSchema>> {
  const text = await read(path);
  const parsed = hostsSchema.safeParse(parseToml(path, text));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const keys = (issue?.path ?? []).map(String);
  throw new RegistryConfigError(`${path}, line ${lineOf(keys, text)}: ${keys.join('.')}: ${issue?.message}`);
}

function parseToml(path: string, text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // Its other lines quote the file.
    const [reason] = error.message.split('\n');
    throw new RegistryConfigError(`${path}, line ${error.line}: ${reason}`, { cause: error });
  }
}

/** The parser forgets where it found what: each key is looked for behind the one that it belongs to. */
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

/** @param place As the file names it; `undefined`: the registry itself. @param directory Paths of files are relative to it. */
async function describe(
  registry: string,
  place: string | undefined,
  settings: Place,
  directory: string,
  directories: RegistryDirectories,
): Promise<RegistryHost> {
  const url = apiUrl(place ?? registry, settings.override_path, directory);
  const { ca = [], client = [], skip_verify: skipVerify, capabilities = ['pull', 'resolve'] } = settings;
  const saysNothing = ca.length === 0 && client.length === 0 && skipVerify === undefined;
  const certificates = saysNothing
    ? await dockerCertificates(url.host, registry, directories.dockerCertsPath)
    : await readCertificates(ca, client, directory);
  // Like the Docker Engine: nobody can come in between on the way to this machine itself.
  const isLenient = saysNothing && certificates.authorities.length === 0 && isThisMachine(url.hostname);
  return {
    url,
    isRegistry: url.host === new URL(`${url.protocol}//${apiHost(registry)}`).host,
    resolves: capabilities.includes('resolve') && capabilities.includes('pull'),
    pulls: capabilities.includes('pull'),
    tls: { ...certificates, verify: skipVerify !== true && !isLenient },
    plainHttpWillDo: isLenient,
    headers: settings.header,
  };
}

function apiUrl(place: string, overridesPath: boolean, directory: string): URL {
  const text = /^https?:\/\//.test(place) ? place : `https://${place}`;
  if (!URL.canParse(text)) throw new RegistryConfigError(`${join(directory, 'hosts.toml')}: ${place} is not a URL`);
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
  const isCertificate = (pem: string) => new X509Certificate(pem);
  const readAs = (file: string, check: (pem: string) => unknown) => readPem(resolve(directory, file), check);
  return {
    authorities: await Promise.all(authorities.map((file) => readAs(file, isCertificate))),
    clientCertificates: await Promise.all(
      pairs.map(async ([certificate, key]) => ({
        certificate: await readAs(certificate, isCertificate),
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
    throw new RegistryConfigError(`cannot use ${path} (it must be in PEM format): ${(error as Error).message}`, {
      cause: error,
    });
  }
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new RegistryConfigError(`cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** The names of the files in a directory; `undefined` if there is no such directory. */
async function list(directory: string): Promise<string[] | undefined> {
  try {
    return await readdir(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new RegistryConfigError(`cannot read ${directory}: ${(error as Error).message}`, { cause: error });
  }
}
