import { isIPv6 } from 'node:net';

/** An address as it stands in a URL and before a port (RFC 3986, section 3.2.2). */
export function bracketed(address: string): string {
  return isIPv6(address) ? `[${address}]` : address;
}
