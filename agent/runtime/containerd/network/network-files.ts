import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** How names are looked up (CNI specification, section 5, "dns"; resolv.conf(5)). */
export interface Dns {
  readonly nameservers: readonly string[];
  readonly domain: string;
  readonly search: readonly string[];
  readonly options: readonly string[];
}

export interface ContainerNetwork {
  readonly hostname: string;
  /** Of the container, without the length of their prefix. */
  readonly addresses: readonly string[];
  readonly dns: Dns;
  /** It has the machine's network, and so sees the machine's files. */
  readonly onHostNetwork: boolean;
}

/** Where the machine has its own. */
export interface MachineFiles {
  readonly resolvConf: string;
  /** The servers that systemd-resolved asks. */
  readonly upstreamResolvConf: string;
  readonly hosts: string;
}

const machineFiles: MachineFiles = {
  resolvConf: '/etc/resolv.conf',
  upstreamResolvConf: '/run/systemd/resolve/resolv.conf',
  hosts: '/etc/hosts',
};

/** As Docker, when the machine has none that a container could reach. */
const publicNameservers = ['8.8.8.8', '8.8.4.4'];

/**
 * Writes what a container sees as /etc/resolv.conf, /etc/hosts and /etc/hostname.
 *
 * @param directory for the files; made if it is not there
 * @returns their paths
 */
export async function networkFiles(directory: string, network: ContainerNetwork, machine = machineFiles) {
  const paths = {
    resolvConf: join(directory, 'resolv.conf'),
    hosts: join(directory, 'hosts'),
    hostname: join(directory, 'hostname'),
  };
  await mkdir(directory, { recursive: true });
  await write(paths.resolvConf, await resolvConf(network, machine));
  await write(paths.hosts, await hosts(network, machine));
  await write(paths.hostname, `${network.hostname}\n`);
  return paths;
}

/** World-readable: the program may run as any user. */
async function write(path: string, content: string): Promise<void> {
  await writeFile(path, content, { mode: 0o644 });
}

async function resolvConf({ dns, onHostNetwork }: ContainerNetwork, machine: MachineFiles): Promise<string> {
  if (!onHostNetwork && dns.nameservers.length > 0) return formatDns(dns);
  const own = await machineResolvConf(machine);
  return onHostNetwork ? own : withoutLoopback(own);
}

/** The stub of systemd-resolved does not listen in another network namespace. */
async function machineResolvConf({ resolvConf, upstreamResolvConf }: MachineFiles): Promise<string> {
  const own = await contentOf(resolvConf);
  const isStub = nameserversOf(own).every((server) => server === '127.0.0.53');
  return (isStub && (await contentOf(upstreamResolvConf))) || own;
}

function withoutLoopback(content: string): string {
  const kept = content.split('\n').filter((line) => !isLoopback(nameserverOf(line) ?? ''));
  const text = kept.join('\n').trim();
  const servers = nameserversOf(text).length > 0 ? [] : publicNameservers;
  return lines(text, ...servers.map((server) => `nameserver ${server}`));
}

function nameserversOf(content: string): string[] {
  return content
    .split('\n')
    .map(nameserverOf)
    .filter((server) => server !== undefined);
}

function nameserverOf(line: string): string | undefined {
  return /^\s*nameserver\s+(\S+)/.exec(line)?.[1];
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}

function formatDns({ nameservers, domain, search, options }: Dns): string {
  return lines(
    ...nameservers.map((server) => `nameserver ${server}`),
    domain && `domain ${domain}`,
    search.length > 0 && `search ${search.join(' ')}`,
    options.length > 0 && `options ${options.join(' ')}`,
  );
}

async function hosts({ hostname, addresses, onHostNetwork }: ContainerNetwork, machine: MachineFiles): Promise<string> {
  const own = onHostNetwork ? (await contentOf(machine.hosts)).trimEnd() : '';
  const known = addresses.length > 0 ? addresses : [withoutNetwork];
  return lines(...(own ? [own] : localHosts), ...known.map((address) => `${address}\t${hostname}`));
}

/** What Debian gives to the name of a machine that has no address of its own. */
const withoutNetwork = '127.0.1.1';

/** The names that Docker and Debian give to the addresses of RFC 4291, sections 2.5.3 and 2.7.1. */
const localHosts = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::\tip6-localnet',
  'ff00::\tip6-mcastprefix',
  'ff02::1\tip6-allnodes',
  'ff02::2\tip6-allrouters',
];

function lines(...all: readonly (string | false)[]): string {
  return all
    .filter((line) => line !== false && line !== '')
    .map((line) => `${line}\n`)
    .join('');
}

/** Empty, if there is no such file. */
async function contentOf(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
}
