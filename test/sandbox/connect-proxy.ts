import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';

export interface ConnectProxyOptions {
  /** `user:password` that a client must give (RFC 7617). Default: none is asked for. */
  readonly credentials?: string;
  /**
   * Where it leads to, for hosts that exist only behind it. Default: to the host that was asked
   * for.
   */
  readonly hosts?: Readonly<Record<string, string>>;
  /** Answers CONNECT with this status and no tunnel. */
  readonly refuseWith?: number;
  /** Never answers. */
  readonly silent?: boolean;
}

/**
 * A proxy as companies have it for HTTPS: it opens tunnels with CONNECT (RFC 9110 §9.3.6) and does
 * nothing else.
 */
export interface ConnectProxy extends AsyncDisposable {
  /** `127.0.0.1:3128` */
  readonly host: string;
  /** What tunnels were asked for, as `host:port`. */
  readonly tunnels: readonly string[];
}

export async function startConnectProxy(options: ConnectProxyOptions = {}): Promise<ConnectProxy> {
  const tunnels: string[] = [];
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    // A tunnel that breaks is noticed by those at its ends.
    socket.on('error', () => socket.destroy());
  };
  const expected =
    options.credentials === undefined ? undefined : `Basic ${Buffer.from(options.credentials).toString('base64')}`;

  const server = http.createServer((_request, response) => response.writeHead(405).end());
  server.on('connection', keep);
  server.on('connect', (request, client: Socket, head) => {
    tunnels.push(request.url ?? '');
    if (options.silent === true) return;
    if (expected !== undefined && request.headers['proxy-authorization'] !== expected) {
      client.end('HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n');
      return;
    }
    if (options.refuseWith !== undefined) {
      client.end(`HTTP/1.1 ${options.refuseWith} Refused\r\n\r\n`);
      return;
    }
    const { hostname, port } = new URL(`http://${request.url}`);
    const target = net.connect(Number(port || 443), options.hosts?.[hostname] ?? hostname, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      target.write(head);
      target.pipe(client).pipe(target);
    });
    keep(target);
    target.on('close', () => client.destroy());
    client.on('close', () => target.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    tunnels,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
