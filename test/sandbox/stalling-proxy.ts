import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type Socket } from 'node:net';

/** A proxy for TCP in front of a server on loopback, which can fall silent. */
export interface StallingProxy extends AsyncDisposable {
  readonly port: number;
  /** All that the limit lets through has been passed to the clients. */
  readonly stalled: Promise<void>;
}

/**
 * Passes bytes both ways, up to a limit of bytes from the server, over all connections together.
 * Then it passes nothing more to the clients, and keeps the connections open.
 * @param limitBytes default: none
 */
export async function startStallingProxy(targetPort: number, limitBytes = Infinity): Promise<StallingProxy> {
  const sockets = new Set<Socket>();
  const stalled = Promise.withResolvers<void>();
  let leftBytes = limitBytes;
  const server = createServer((client) => {
    const upstream = connect(targetPort, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      // An end or an error of one side is one of the other side.
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream);
    upstream.on('data', (bytes: Buffer) => {
      const passed = bytes.subarray(0, leftBytes);
      leftBytes -= passed.length;
      if (passed.length > 0 && !client.write(passed)) {
        upstream.pause();
        client.once('drain', () => upstream.resume());
      }
      if (leftBytes === 0) stalled.resolve();
    });
    upstream.on('end', () => leftBytes > 0 && client.end());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    stalled: stalled.promise,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
