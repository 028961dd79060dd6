import { BlockList, isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { withoutBrackets } from './authority.ts';

/**
 * Proxies as environment variables name them. `undefined` and `''`: not set; an error: one that is
 * named and cannot be used.
 */
export interface ProxySettings {
  /** For plain HTTP; `http://user:password@host:port`, or `host:port`. */
  readonly httpProxy?: string | ProxyError | undefined;
  /** For HTTPS and for gRPC, with TLS or without. */
  readonly httpsProxy?: string | ProxyError | undefined;
  /** Hosts to reach without a proxy, separated by commas or spaces. */
  readonly noProxy?: string | undefined;
}

/** What is to be connected to. */
export interface ProxyTarget {
  /** `https:` also for gRPC without TLS, as gRPC for Go has it. */
  readonly protocol: 'http:' | 'https:';
  /** A name or an address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/**
 * @returns URL of the proxy to use, with the protocol `http:`, `https:`, `socks5:` or `socks5h:`;
 *   `undefined`: connect directly
 * @throws {ProxyError} this would go through a proxy that cannot be used
 */
export type ProxyRules = (target: ProxyTarget) => URL | undefined;

/** A proxy that cannot be used. The message says why, without its password. */
export class ProxyError extends Error {
  override readonly name = 'ProxyError';
}

/**
 * The proxies of an environment. Of `HTTP_PROXY` and `http_proxy` the former wins, as in Go; an
 * empty variable is not set. As in curl, `ALL_PROXY` is for what has no proxy of its own.
 *
 * Go ignores HTTP_PROXY where REQUEST_METHOD is set, because a CGI program gets the header `Proxy:`
 * of a request in it. No program here is one, so there is no such rule.
 */
export function proxySettingsOf(environment: Readonly<Record<string, string | undefined>>): {
  readonly [Name in keyof ProxySettings]: string | undefined;
} {
  const read = (name: string) => environment[name] || environment[name.toLowerCase()] || undefined;
  const others = read('ALL_PROXY');
  return {
    httpProxy: read('HTTP_PROXY') ?? others,
    httpsProxy: read('HTTPS_PROXY') ?? others,
    noProxy: read('NO_PROXY'),
  };
}

/**
 * The rules of an environment. What would go through a proxy that cannot be used fails: who names a
 * proxy does not want to be seen without.
 *
 * @returns rules that throw a {@link ProxyError}, which names the variable and never has a password
 */
export function proxyRulesOf(environment: Readonly<Record<string, string | undefined>>): ProxyRules {
  const settings = proxySettingsOf(environment);
  const usable = (name: string, proxy: string | undefined) => {
    try {
      return proxy === undefined ? undefined : parseProxy(proxy).href;
    } catch (error) {
      if (!(error instanceof ProxyError)) throw error;
      const isOwn = environment[name] || environment[name.toLowerCase()];
      return new ProxyError(`${isOwn ? name : 'ALL_PROXY'} ${error.message}`);
    }
  };
  return createProxyRules({
    ...settings,
    httpProxy: usable('HTTP_PROXY', settings.httpProxy),
    httpsProxy: usable('HTTPS_PROXY', settings.httpsProxy),
  });
}

/**
 * Decides by the rules of Go (package golang.org/x/net/http/httpproxy), which the container engine
 * and the workers of Tinkerbell follow too. `localhost` and loopback addresses are never reached by
 * a proxy. An entry of `noProxy` is one of
 *
 * - `*`: no proxy at all;
 * - an address (`10.0.0.1`, `fd00::1`) or a network (`10.0.0.0/8`, `fd00::/8`);
 * - `name`: the host of that name and all below it; `.name` and `*.name`: only those below it;
 * - an address or a name with `:port`: only at this port. IPv6 has brackets then.
 *
 * Empty entries and such that cannot be read are ignored. Two rules go beyond Go's: brackets around
 * IPv6 without a port (`[fd00::1]`) are understood, and spaces separate entries too, as in curl.
 *
 * @throws {ProxyError} a proxy cannot be used
 */
export function createProxyRules({ httpProxy, httpsProxy, noProxy }: ProxySettings): ProxyRules {
  const parsed = (proxy: string | ProxyError | undefined) => (typeof proxy === 'string' ? parseProxy(proxy) : proxy);
  const proxies = {
    'http:': parsed(httpProxy || undefined),
    'https:': parsed(httpsProxy || undefined),
  };
  const matchers = (noProxy ?? '').split(/[\s,]+/).flatMap((entry) => matcherOf(entry.trim().toLowerCase()) ?? []);
  return ({ protocol, host, port }) => {
    const proxy = proxies[protocol];
    if (proxy === undefined) return undefined;
    const target = { host: host.toLowerCase(), address: addressOf(host), port };
    const isLocal = target.host === 'localhost' || (target.address !== undefined && isLoopback(target.address));
    if (isLocal || matchers.some((matches) => matches(target))) return undefined;
    if (proxy instanceof ProxyError) throw proxy;
    return proxy;
  };
}

/**
 * Reads the address of a proxy. Without a scheme it is an HTTP proxy.
 *
 * @throws {ProxyError} it is no address, the user or the password in it is not encoded as in a URL,
 *   or the proxy speaks another protocol than HTTP and SOCKS 5
 */
export function parseProxy(text: string): URL {
  const trimmed = text.trim();
  const complete = /^[a-z][a-z\d+.-]*:\/\//i.test(trimmed) ? trimmed : `http://${trimmed}`;
  const problem = (why: string) => new ProxyError(`must be [http://][user:password@]host[:port]${why}`);
  if (!URL.canParse(complete)) throw problem('');
  const url = new URL(complete);
  if (url.hostname === '') throw problem('');
  if (!['http:', 'https:', 'socks5:', 'socks5h:'].includes(url.protocol))
    throw problem(`; proxies that speak ${url.protocol.slice(0, -1)} are not supported`);
  if (![url.username, url.password].every(isEncoded)) throw problem('; a % in user or password is written as %25');
  return url;
}

function isEncoded(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/** Whether a proxy is connected through with {@link connectBySocks}. */
export function isSocks({ protocol }: URL): boolean {
  return protocol === 'socks5:' || protocol === 'socks5h:';
}

/** Where to connect to for a proxy. */
export function addressOfProxy(proxy: URL): { readonly host: string; readonly port: number } {
  if (!isSocks(proxy)) return targetOf(proxy);
  return { host: withoutBrackets(proxy.hostname), port: Number(proxy.port || 1080) };
}

/** What a request to a URL connects to. */
export function targetOf(url: URL): ProxyTarget {
  const protocol = url.protocol === 'https:' ? 'https:' : 'http:';
  const port = Number(url.port || (protocol === 'https:' ? 443 : 80));
  return { protocol, host: withoutBrackets(url.hostname), port };
}

type Matcher = (target: {
  readonly host: string;
  readonly address: string | undefined;
  readonly port: number;
}) => boolean;

function matcherOf(entry: string): Matcher | undefined {
  if (entry === '*') return () => true;
  const network = networkOf(entry);
  if (network !== undefined) return ({ address }) => address !== undefined && contains(network, address);
  const { host, port } = splitPort(entry);
  if (host === '') return undefined;
  const isPort = (other: number) => port === undefined || port === String(other);
  const entryAddress = addressOf(host);
  if (entryAddress !== undefined) {
    const one = new BlockList();
    one.addAddress(entryAddress, familyOf(entryAddress));
    return (target) => target.address !== undefined && contains(one, target.address) && isPort(target.port);
  }
  const name = host.replace(/^\*(?=\.)/, '');
  const withSubdomains = name.startsWith('.');
  const plain = withSubdomains ? name.slice(1) : name;
  // Names with letters of other alphabets arrive here in their ASCII form.
  const ascii = domainToASCII(plain) || plain;
  return (target) =>
    target.address === undefined &&
    (target.host.endsWith(`.${ascii}`) || (!withSubdomains && target.host === ascii)) &&
    isPort(target.port);
}

function networkOf(entry: string): BlockList | undefined {
  const [, address = '', bits = ''] = /^(.+)\/(\d{1,3})$/.exec(entry) ?? [];
  const family = isIP(address);
  if (family === 0 || Number(bits) > (family === 6 ? 128 : 32)) return undefined;
  const network = new BlockList();
  network.addSubnet(address, Number(bits), family === 6 ? 'ipv6' : 'ipv4');
  return network;
}

function splitPort(entry: string): { readonly host: string; readonly port: string | undefined } {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(entry);
  if (bracketed !== null) return { host: bracketed[1] ?? '', port: bracketed[2] || undefined };
  // Several colons without brackets are an address of IPv6.
  const [, host = entry, port = ''] = /^([^:]*):([^:]*)$/.exec(entry) ?? [];
  return { host, port: port || undefined };
}

/**
 * The address of a host without its zone; IPv4 in IPv6 as IPv4. `undefined`: the host is a name.
 */
function addressOf(host: string): string | undefined {
  const withoutZone = host.replace(/^([^%]*:[^%]*)%.+$/, '$1');
  if (isIP(withoutZone) === 0) return undefined;
  if (isIP(withoutZone) === 4) return withoutZone;
  const [, high, low] = /^\[::ffff:([\da-f]+):([\da-f]+)\]$/.exec(new URL(`http://[${withoutZone}]`).hostname) ?? [];
  if (high === undefined || low === undefined) return withoutZone;
  const value = Number.parseInt(high, 16) * 65536 + Number.parseInt(low, 16);
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

const isLoopback = (address: string) => contains(loopback, address);

const familyOf = (address: string) => (isIP(address) === 6 ? 'ipv6' : 'ipv4');

const contains = (addresses: BlockList, address: string) => addresses.check(address, familyOf(address));
