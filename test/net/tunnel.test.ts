import assert from 'node:assert/strict';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { openTunnel } from '../../net/tunnel.ts';
import { startConnectProxy } from '../sandbox/connect-proxy.ts';

/** A server that answers with its name and what it got. */
async function startServer(name: string): Promise<AsyncDisposable & { readonly target: string }> {
  const server = net.createServer({ allowHalfOpen: true }, async (socket) => {
    socket.end(`${name} got ${await text(socket)}`);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    target: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}

test('two tunnels at once through one proxy lead each to its own target', async () => {
  await using one = await startServer('one');
  await using two = await startServer('two');
  await using proxy = await startConnectProxy();
  const url = new URL(`http://${proxy.host}`);
  const targets = [one.target, two.target];
  const tunnels = await Promise.all(
    targets.map((target) =>
      openTunnel(net.connect({ port: Number(url.port), host: url.hostname, allowHalfOpen: true }), url, target),
    ),
  );
  assert.deepEqual(proxy.tunnels.toSorted(), targets.toSorted());
  // Both are open when the first byte is sent.
  const answers = tunnels.map((tunnel, index) => {
    tunnel.end(`request ${index}`);
    return text(tunnel);
  });
  assert.deepEqual(await Promise.all(answers), ['one got request 0', 'two got request 1']);
});
