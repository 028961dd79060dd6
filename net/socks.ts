import { once } from 'node:events';
import { isIPv4, isIPv6, type Socket } from 'node:net';
import type { Destination } from './connect.ts';

/** Reply codes of RFC 1928, section 6. */
const refusals: Readonly<Record<number, string>> = {
  1: 'general failure',
  2: 'its rules do not allow it',
  3: 'network unreachable',
  4: 'host unreachable',
  5: 'connection refused',
  6: 'time to live expired',
  7: 'it does not support this command',
  8: 'it does not support this type of address',
};

/** Methods of authentication of RFC 1928, section 3. */
const methods = { none: 0, password: 2 } as const;

/**
 * Has a SOCKS 5 proxy connect to a target (RFC 1928), with user and password (RFC 1929) if the URL
 * has them. Names are resolved by the proxy, as with Go, also with `socks5:`.
 *
 * @param socket connected to the proxy; it then leads to the target. The caller destroys it to give
 *   up
 * @throws {Error} the proxy refuses, or speaks another protocol; the connection breaks
 */
export async function connectBySocks(socket: Socket, proxy: URL, { host, port }: Destination): Promise<void> {
  const credentials = [decodeURIComponent(proxy.username), decodeURIComponent(proxy.password)];
  const hasCredentials = credentials.some((text) => text !== '');
  const offered = hasCredentials ? [methods.none, methods.password] : [methods.none];
  socket.write(Buffer.from([5, offered.length, ...offered]));
  const [version, method] = await read(socket, 2);
  if (version !== 5) throw new Error('it does not speak SOCKS 5');
  if (method === methods.password && hasCredentials) {
    socket.write(Buffer.concat([Buffer.from([1]), ...credentials.map(counted)]));
    const [, status] = await read(socket, 2);
    if (status !== 0) throw new Error('it does not accept this user and password');
  } else if (method !== methods.none) {
    throw new Error(hasCredentials ? 'it takes no user and password' : 'it wants a user and a password');
  }
  const command = Buffer.from([5, 1, 0]);
  const portBytes = Buffer.from([port >> 8, port & 255]);
  socket.write(Buffer.concat([command, encodeAddress(host), portBytes]));
  const [, reply = 1, , addressType] = await read(socket, 4);
  if (reply !== 0) throw new Error(refusals[reply] ?? `reply ${reply}`);
  // The address of the proxy's own side follows.
  const [nameBytes = 0] = addressType === 3 ? await read(socket, 1) : [];
  await read(socket, (addressType === 3 ? nameBytes : addressType === 4 ? 16 : 4) + 2);
}

/** Type and address. IPv6 without its zone: that is of this machine. */
function encodeAddress(host: string): Buffer {
  if (isIPv4(host)) return Buffer.from([1, ...host.split('.').map(Number)]);
  const address = host.replace(/%.*$/, '');
  if (isIPv6(address)) return Buffer.concat([Buffer.from([4]), bytesOfIpv6(address)]);
  return Buffer.concat([Buffer.from([3]), counted(host)]);
}

function bytesOfIpv6(address: string): Buffer {
  const groups = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::');
  const [head = [], tail = []] = groups.map((part) => (part === '' ? [] : part.split(':')));
  const all = [...head, ...Array<string>(8 - head.length - tail.length).fill('0'), ...tail];
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex');
}

/** A text after a byte with its length. */
function counted(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length === 0 || bytes.length > 255) throw new Error('a name or password must have 1 to 255 bytes');
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

/** Exactly so many bytes; what comes after them stays in the socket. */
async function read(socket: Socket, length: number): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  while (bytes.length < length) {
    // All of it: with a rest in the socket, a listener for more would be called at once.
    const piece: Buffer | null = socket.read();
    if (piece !== null) bytes = Buffer.concat([bytes, piece]);
    else if (socket.readableEnded || socket.destroyed) throw new Error('it closed the connection');
    else await untilReadable(socket);
  }
  if (bytes.length > length) socket.unshift(bytes.subarray(length));
  return bytes.subarray(0, length);
}

async function untilReadable(socket: Socket): Promise<void> {
  const stop = new AbortController();
  const { signal } = stop;
  const events = ['readable', 'end', 'close'].map((event) => once(socket, event, { signal }));
  try {
    await Promise.race(events);
  } finally {
    stop.abort();
    await Promise.allSettled(events);
  }
}
