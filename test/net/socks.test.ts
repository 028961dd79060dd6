import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { Channel } from '../../agent/transport/grpc/channel.ts';
import { systemClock } from '../../clock/system.ts';
import { createHttpClient } from '../../net/http-client.ts';
import { createProxyRules } from '../../net/proxy.ts';
import { openTunnel } from '../../net/tunnel.ts';
import { WorkflowServiceDefinition } from '../../proto/tink.pb.ts';
import { addLoopbackAddress } from '../sandbox/added-address.ts';
import { createCertificateAuthority } from '../sandbox/certificates.ts';
import { startSocksProxy } from '../sandbox/socks-proxy.ts';
import { makeCertificate, startTinkServer } from '../sandbox/tink-server/server.ts';

const never = new AbortController().signal;

/** A server that speaks first, as some do. */
async function startGreeter(host: string): Promise<AsyncDisposable & { readonly port: number }> {
  const server = net.createServer((socket) => socket.end('hello')).listen(0, host);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}

async function tunnelThrough(proxy: { readonly host: string }, user: string, target: string) {
  const [host, port] = proxy.host.split(':');
  const socket = net.connect(Number(port), host);
  try {
    return await openTunnel(socket, new URL(`socks5://${user}${proxy.host}`), target);
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

for (const [name, host, target] of [
  ['an address', '127.0.0.1', '127.0.0.1'],
  ['an IPv6 address', '::1', '[::1]'],
  ['a name, which the proxy resolves', '127.0.0.1', 'localhost'],
] as const) {
  test(`openTunnel() has a SOCKS 5 proxy connect to ${name}, and loses nothing of what the server says`, async () => {
    await using server = await startGreeter(host);
    await using proxy = await startSocksProxy();
    const tunnel = await tunnelThrough(proxy, '', `${target}:${server.port}`);
    assert.equal(await text(tunnel), 'hello');
    assert.deepEqual(await proxy.targets(), [`${target.replace(/[[\]]/g, '')}:${server.port}`]);
  });
}

test('openTunnel() gives user and password to a SOCKS 5 proxy, and says when it does not take them', async () => {
  await using server = await startGreeter('127.0.0.1');
  await using proxy = await startSocksProxy({ user: 'me', password: 'se cret' });
  const target = `127.0.0.1:${server.port}`;
  assert.equal(await text(await tunnelThrough(proxy, 'me:se%20cret@', target)), 'hello');
  const refusal = (why: string) => new RegExp(`^the proxy ${proxy.host} does not connect to ${target}: ${why}$`);
  for (const [user, why] of [
    ['me:wrong@', 'it does not accept this user and password'],
    ['', 'it wants a user and a password'],
  ] as const) {
    await assert.rejects(tunnelThrough(proxy, user, target), (error: Error) => {
      assert.match(error.message, refusal(why));
      assert.doesNotMatch(error.message, /wrong/);
      return true;
    });
  }
});

test('openTunnel() says why a SOCKS 5 proxy does not connect', async () => {
  await using proxy = await startSocksProxy();
  const gone = await startGreeter('127.0.0.1');
  await gone[Symbol.asyncDispose]();
  await assert.rejects(tunnelThrough(proxy, '', `127.0.0.1:${gone.port}`), /: connection refused$/);
  // Something else than a SOCKS proxy.
  for (const [answer, why] of [
    ['HTTP/1.1 400 Bad Request\r\n\r\n', /: it does not speak SOCKS 5$/],
    ['\x05', /: it closed the connection$/],
    ['', /: it closed the connection$/],
  ] as const) {
    const other = net.createServer((socket) => socket.end(answer)).listen(0, '127.0.0.1');
    await once(other, 'listening');
    const host = `127.0.0.1:${(other.address() as AddressInfo).port}`;
    await assert.rejects(tunnelThrough({ host }, '', '127.0.0.1:1'), why);
    other.close();
  }
});

for (const protocol of ['socks5', 'socks5h'] as const) {
  test(`createHttpClient() requests by ${protocol}, with the TLS of the server itself, and not past it`, async () => {
    await using address = await addLoopbackAddress();
    const authority = await createCertificateAuthority();
    const { certificate: cert, key } = await authority.issue([address.address]);
    const answer: http.RequestListener = (request, response) => void response.end(`${request.url}`);
    const servers = [http.createServer(answer), https.createServer({ cert, key }, answer)] as const;
    for (const server of servers) await once(server.listen(0, address.address), 'listening');
    const [plain, secure] = servers.map((server) => (server.address() as AddressInfo).port);
    await using proxy = await startSocksProxy();
    const rules = createProxyRules({
      httpProxy: `${protocol}://${proxy.host}`,
      httpsProxy: `${protocol}://${proxy.host}`,
    });
    try {
      using client = createHttpClient({
        ...{ clock: systemClock, timeoutSeconds: 60, proxy: rules },
        tls: () => ({ ca: authority.certificate }),
      });
      for (const url of [`http://${address.address}:${plain}/a`, `https://${address.address}:${secure}/b`]) {
        const { body } = await client.request({ url: new URL(url) }, never);
        // The path alone, as a server gets it: not the whole URL, as an HTTP proxy does.
        assert.equal(await text(body), new URL(url).pathname);
      }
      const targets = [`${address.address}:${plain}`, `${address.address}:${secure}`];
      assert.deepEqual(await proxy.targets(), targets);
    } finally {
      for (const server of servers) server.close().closeAllConnections();
    }
  });
}

for (const tls of ['verified', 'plaintext'] as const) {
  test(`a Channel calls a tink server through a SOCKS 5 proxy (${tls})`, async (test) => {
    await using address = await addLoopbackAddress();
    const certificate = await makeCertificate([address.address]);
    const server = await startTinkServer({ address: address.address, certificate, tls: tls !== 'plaintext' });
    test.after(() => server.stop());
    await using proxy = await startSocksProxy();
    await using channel = new Channel({
      ...{ authority: server.authority, certificateAuthority: certificate.bundle, tls },
      proxy: createProxyRules({ httpsProxy: `socks5://${proxy.host}` }),
    });
    const { getWorkflowActions } = WorkflowServiceDefinition.methods;
    const service = 'github.com.tinkerbell.tink.protos.workflow.WorkflowSvc';
    await channel.call(service, getWorkflowActions, { workflowId: 'none' }, never);
    assert.deepEqual(await proxy.targets(), [server.authority]);
  });
}
