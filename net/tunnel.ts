import http from 'node:http';
import type { Socket } from 'node:net';
import tls from 'node:tls';
import { reasonOf } from '../errors/reason.ts';
import { splitAuthority, withoutBrackets } from './authority.ts';
import { isSocks } from './proxy.ts';
import { connectBySocks } from './socks.ts';

/**
 * Asks a proxy for a tunnel: an HTTP proxy with the method CONNECT (RFC 9110 section 9.3.6), over
 * TLS if the proxy's URL has the protocol `https:`, or a SOCKS 5 proxy ({@link connectBySocks}).
 *
 * @param socket connected to the proxy. It ends with the tunnel; the caller destroys it to give up
 * @param proxy with the name and password in it, if the proxy wants them (RFC 7617)
 * @param target `host:port`, IPv6 in brackets
 * @returns the connection to the target
 * @throws {Error} the proxy refuses or the connection breaks; the message names proxy and target
 */
export async function openTunnel(socket: Socket, proxy: URL, target: string): Promise<Socket> {
  const problem = (why: string, cause?: unknown) =>
    new Error(`the proxy ${proxy.host} does not connect to ${target}: ${why}`, { cause });
  try {
    if (isSocks(proxy)) {
      const { host, port = 443 } = splitAuthority(target);
      await connectBySocks(socket, proxy, { host, port });
      return socket;
    }
    const connection = proxy.protocol === 'https:' ? await secure(socket, proxy) : socket;
    const { promise, resolve, reject } = Promise.withResolvers<Socket>();
    const request = http.request({
      method: 'CONNECT',
      path: target,
      headers: { host: target, ...authorization(proxy) },
      createConnection: () => connection,
    });
    request.once('error', reject);
    request.once('connect', ({ statusCode, statusMessage }, tunnel: Socket, head) => {
      if (statusCode !== 200) return reject(new Error(`HTTP status ${statusCode} ${statusMessage}`));
      // The server may have spoken already.
      if (head.length > 0) tunnel.unshift(head);
      resolve(tunnel);
    });
    request.end();
    return await promise;
  } catch (error) {
    throw problem(reasonOf(error), error);
  }
}

async function secure(socket: Socket, { hostname }: URL): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const secured = tls.connect({ socket, host: withoutBrackets(hostname) }, resolve).once('error', reject);
  await promise;
  secured.off('error', reject);
  return secured;
}

function authorization({ username, password }: URL): http.OutgoingHttpHeaders {
  if (username === '' && password === '') return {};
  const text = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(text).toString('base64')}` };
}
