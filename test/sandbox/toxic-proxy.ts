/**
 * A proxy for TCP and UNIX sockets that does to connections what networks and broken peers do.
 * Reproduced: delays, data that arrives only when the fault is over, connections whose other end is
 * gone without a word, resets, bytes that make no sense, answers that break off, an answer without
 * TLS. Not reproduced: single packets; loss shows as a pause, because TCP sends again.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { loopbackAddress } from './loopback-address.ts';

export const TOXIC_FAULTS = ['latency', 'stall', 'half-open', 'reset', 'garbage', 'truncated', 'plaintext'] as const;
export type ToxicFault = (typeof TOXIC_FAULTS)[number];

/** A port of this machine, or the path of a UNIX socket. */
export type ToxicAddress = { readonly host: string; readonly port: number } | { readonly path: string };

export interface ToxicProxy extends AsyncDisposable {
  /** `address:port`, or the path. */
  readonly authority: string;
  /** Begins a fault; `undefined` ends it. Connections that it broke stay broken. */
  setFault(fault: ToxicFault | undefined): void;
}

interface Link {
  readonly client: Socket;
  readonly upstream: Socket;
  /** The other end is gone, and this one does not learn of it. */
  isDead: boolean;
}

const latencyMilliseconds = 400;
const withoutTls = Buffer.from('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');

export interface ToxicProxyOptions {
  /** Of the UNIX socket to listen on. Default: a port. */
  readonly path?: string;
  /** To listen on. Default: one in 127.0.0.0/8. */
  readonly address?: string;
}

export async function startToxicProxy(
  target: ToxicAddress,
  { path, ...options }: ToxicProxyOptions = {},
): Promise<ToxicProxy> {
  const links = new Set<Link>();
  let fault: ToxicFault | undefined;
  let over = Promise.withResolvers<void>();

  const kill = (link: Link) => {
    link.isDead = true;
    link.upstream.destroy();
  };
  const reset = ({ client, upstream }: Link) => {
    // A UNIX socket has no resets: its peer gets ECONNRESET where it was not all read.
    if (path === undefined) client.resetAndDestroy();
    else client.destroy();
    upstream.destroy();
  };
  /** What becomes of a chunk; empty: nothing. */
  async function spoil(chunk: Buffer, link: Link, isAnswer: boolean): Promise<Buffer> {
    switch (fault) {
      case 'latency':
        await sleep(latencyMilliseconds);
        return chunk;
      case 'stall':
        await over.promise;
        return chunk;
      case 'half-open':
        kill(link);
        return Buffer.alloc(0);
      case 'reset':
        reset(link);
        return Buffer.alloc(0);
      case 'garbage':
        return isAnswer ? (chunk.map((byte, index) => byte ^ ((index * 151 + 87) & 255)) as Buffer) : chunk;
      case 'truncated':
        if (!isAnswer) return chunk;
        link.client.end(chunk.subarray(0, Math.ceil(chunk.length / 2)));
        link.upstream.destroy();
        return Buffer.alloc(0);
      case 'plaintext':
        link.client.end(withoutTls);
        link.upstream.destroy();
        return Buffer.alloc(0);
      default:
        return chunk;
    }
  }
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const upstream = connect({ ...target, allowHalfOpen: true });
    const link: Link = { client, upstream, isDead: false };
    links.add(link);
    const copy = (from: Socket, to: Socket, isAnswer: boolean) => {
      // One after another, in order.
      let queue = Promise.resolve();
      from.on('data', (chunk) => {
        queue = queue.then(async () => {
          if (link.isDead) return;
          const passed = await spoil(chunk, link, isAnswer);
          if (passed.length > 0 && to.writable) to.write(passed);
        });
      });
      from.on('end', () => {
        queue = queue.then(() => {
          if (!link.isDead && to.writable) to.end();
        });
      });
      from.on('error', () => {
        if (!link.isDead) to.destroy();
      });
    };
    copy(client, upstream, false);
    copy(upstream, client, true);
    client.on('close', () => {
      links.delete(link);
      upstream.destroy();
    });
  });
  if (path === undefined) server.listen(0, options.address ?? loopbackAddress());
  else server.listen(path);
  await once(server, 'listening');
  const { address, port } = path === undefined ? (server.address() as AddressInfo) : { address: '', port: 0 };
  return {
    authority: path ?? `${address}:${port}`,
    setFault(next) {
      fault = next;
      over.resolve();
      over = Promise.withResolvers();
      for (const link of links) {
        if (fault === 'half-open') kill(link);
        if (fault === 'reset') reset(link);
      }
    },
    async [Symbol.asyncDispose]() {
      server.close();
      for (const { client, upstream } of links) {
        client.destroy();
        upstream.destroy();
      }
      await once(server, 'close');
    },
  };
}
