/** The parts of a URL that the rules use. */
export interface ParsedUrl {
  /** In lower case; empty for a relative reference. */
  readonly scheme: string;
  /** The path; for URLs without a slash after the scheme, all that follows the scheme. */
  readonly path: string;
  readonly query: string;
  /** Whether the host has a user name before it. */
  readonly hasUser: boolean;
}

/**
 * Parses a URL as Go's `net/url`, which Ignition uses. The WHATWG parser of Node corrects or
 * refuses other URLs. Source: RFC 3986 and https://pkg.go.dev/net/url#Parse.
 * @returns undefined if it cannot be parsed
 */
export function parseUrl(text: string): ParsedUrl | undefined {
  if (hasControlCharacter(text)) return undefined;
  const [beforeFragment, fragment] = cut(text, '#');
  if (!isEscapedProperly(fragment)) return undefined;
  if (beforeFragment.startsWith(':')) return undefined;
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(beforeFragment)?.[1]?.toLowerCase() ?? '';
  const afterScheme = scheme === '' ? beforeFragment : beforeFragment.slice(scheme.length + 1);
  const [hierarchy, query] = cut(afterScheme, '?');
  if (!hierarchy.startsWith('/')) {
    if (scheme !== '') return { scheme, path: hierarchy, query, hasUser: false };
    if (cut(hierarchy, '/')[0].includes(':')) return undefined;
  }
  let path = hierarchy;
  let hasUser = false;
  if (hierarchy.startsWith('//') && (scheme !== '' || !hierarchy.startsWith('///'))) {
    const slash = hierarchy.indexOf('/', 2);
    const authority = slash < 0 ? hierarchy.slice(2) : hierarchy.slice(2, slash);
    if (!isAuthority(authority)) return undefined;
    hasUser = authority.includes('@');
    path = slash < 0 ? '' : hierarchy.slice(slash);
  }
  return isEscapedProperly(path) ? { scheme, path, query, hasUser } : undefined;
}

function cut(text: string, separator: string): [string, string] {
  const index = text.indexOf(separator);
  return index < 0 ? [text, ''] : [text.slice(0, index), text.slice(index + 1)];
}

function hasControlCharacter(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}

function isEscapedProperly(text: string): boolean {
  return !/%(?![0-9a-f]{2})/i.test(text);
}

function isAuthority(authority: string): boolean {
  const at = authority.lastIndexOf('@');
  const user = at < 0 ? '' : authority.slice(0, at);
  if (!/^[A-Za-z0-9\-._:~!$&'()*+,;=%@]*$/.test(user) || !isEscapedProperly(user)) return false;
  return isHost(authority.slice(at + 1));
}

function isHost(host: string): boolean {
  const bracketed = /^\[(.*)\](:\d*)?$/.exec(host);
  if (host.startsWith('[') && bracketed === null) return false;
  const colon = host.lastIndexOf(':');
  if (bracketed === null && colon >= 0 && !/^:\d*$/.test(host.slice(colon))) return false;
  const [address, zone] = cut(bracketed?.[1] ?? host, '%25');
  // Only what is not ASCII may be escaped in a host, more in the zone of an IPv6 address.
  if (/%(?![89a-f][0-9a-f])/i.test(bracketed === null ? host : address) || !isEscapedProperly(zone)) return false;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: any character that is not ASCII is allowed in a host
  return /^(?:[A-Za-z0-9\-_.~!$&'()*+,;=:[\]<>"%]|[^\x00-\x7f])*$/.test(address);
}
