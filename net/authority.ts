import { isIP } from 'node:net';

/** A host, and the port of it if one is known. */
export interface Authority {
  /** A name or an address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number | undefined;
}

/**
 * The host of a URL or an authority without the brackets that are around an address of IPv6 there
 * (RFC 3986, section 3.2.2).
 */
export function withoutBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1');
}

/**
 * Reads `host:port`, `[address]:port` or a host alone. Nothing is checked: texts of people are
 * checked where they come in.
 */
export function splitAuthority(authority: string): Authority {
  const [, host = authority, port] = /^(.*):(\d+)$/s.exec(authority) ?? [];
  return { host: withoutBrackets(host), port: port === undefined ? undefined : Number(port) };
}

/**
 * Reads what a person wrote: `host`, `host:port`, `[address]:port`; an address of IPv6 alone needs
 * no brackets.
 *
 * @returns `undefined`: it is of another form
 */
export function parseAuthority(text: string): Authority | undefined {
  if (isIP(text) === 6) return { host: text, port: undefined };
  if (!/^(?:\[[^\s[\]]+\]|[^\s:/[\]]+)(?::\d{1,5})?$/.test(text)) return undefined;
  const { host, port } = splitAuthority(text);
  if (text.startsWith('[') && isIP(host) !== 6) return undefined;
  return port === undefined || (port >= 1 && port <= 65535) ? { host, port } : undefined;
}

/** @returns `host:port`, or the host alone, with brackets around an address of IPv6 */
export function formatAuthority({ host, port }: Authority): string {
  const bracketed = host.includes(':') ? `[${host}]` : host;
  return port === undefined ? bracketed : `${bracketed}:${port}`;
}
