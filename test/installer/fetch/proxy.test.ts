import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createDownloadClient } from '../../../installer/fetch/client.ts';
import { fetchImage } from '../../../installer/fetch/fetch.ts';
import { addLoopbackAddress } from '../../sandbox/added-address.ts';
import { createCertificateAuthority } from '../../sandbox/certificates.ts';
import { type ConnectProxyOptions, startConnectProxy } from '../../sandbox/connect-proxy.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';

const content = randomBytes(1_000_000);
const never = new AbortController().signal;

let directory: string;
let server: https.Server;
/** Breaks the next connection after this many bytes. */
let cutAfterBytes: number | undefined;
const ranges: (string | undefined)[] = [];

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-proxy-'));
  const authority = await createCertificateAuthority();
  await writeFile(join(directory, 'ca.pem'), authority.certificate);
  // Read once in the life of a process, when the first secure connection is made.
  process.env['SSL_CERT_FILE'] = join(directory, 'ca.pem');
  const { certificate: cert, key } = await authority.issue(['mirror.example']);
  server = https.createServer({ cert, key }, (request, response) => {
    const { range } = request.headers;
    ranges.push(range);
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
    const length = content.length - from;
    const headers = { etag: '"a"', 'content-length': length };
    if (range === undefined) response.writeHead(200, headers);
    else
      response.writeHead(206, { ...headers, 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` });
    if (cutAfterBytes === undefined) return void response.end(content.subarray(from));
    response.write(content.subarray(from, from + cutAfterBytes), () => request.socket.destroySoon());
    cutAfterBytes = undefined;
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
after(async () => {
  server.close().closeAllConnections();
  await rm(directory, { recursive: true });
});

/** A host that exists only behind the proxy. */
const target = () => new URL(`https://mirror.example:${(server.address() as AddressInfo).port}/image`);
const hosts = { 'mirror.example': '127.0.0.1' };

async function fetchThrough(options: ConnectProxyOptions, user = '') {
  await using proxy = await startConnectProxy({ hosts, ...options });
  const environment = { https_proxy: `http://${user}${proxy.host}`, http_proxy: 'http://127.0.0.1:1' };
  using client = createDownloadClient({ clock: new VirtualClock(), environment, tries: 2 });
  using image = await fetchImage(client, [target()], never);
  const bytes = Buffer.concat(await Array.fromAsync(image.bytes));
  return { bytes, tunnels: [...proxy.tunnels] };
}

test('fetchImage() downloads over https through a tunnel of the proxy, with the TLS of the server itself', async () => {
  const { bytes, tunnels } = await fetchThrough({});
  assert.ok(bytes.equals(content));
  assert.deepEqual(tunnels, [target().host]);
});

test('fetchImage() opens a new tunnel and goes on where one broke', async () => {
  cutAfterBytes = 300_000;
  ranges.length = 0;
  const { bytes, tunnels } = await fetchThrough({});
  assert.ok(bytes.equals(content));
  assert.deepEqual(tunnels, [target().host, target().host]);
  assert.deepEqual(ranges, [undefined, 'bytes=300000-']);
});

test('fetchImage() gives the proxy the name and password of its URL, and no one else', async () => {
  let seen: string | undefined;
  const look = (request: { headers: NodeJS.Dict<string | string[]> }) => {
    seen = JSON.stringify(request.headers);
  };
  server.on('request', look);
  try {
    const { bytes } = await fetchThrough({ credentials: 'me:se cret' }, 'me:se%20cret@');
    assert.ok(bytes.equals(content));
    assert.doesNotMatch(seen ?? assert.fail(), /authorization/i);
  } finally {
    server.off('request', look);
  }
});

for (const [name, options, says] of [
  [
    'wants a password',
    { credentials: 'me:secret' },
    /cannot download https:\S+: .*407.*\(check the network, name resolution and proxy\)$/,
  ],
  [
    'refuses the tunnel',
    { refuseWith: 403 },
    /cannot download https:\S+: .*403.*\(check the network, name resolution and proxy\)$/,
  ],
  [
    'does not answer',
    { silent: true },
    /cannot download https:\S+: no response within 20 s \(tried 2 times\) \(check the network, name resolution and proxy\)$/,
  ],
] as const) {
  test(`fetchImage() says so when the proxy ${name}`, async () => {
    await assert.rejects(fetchThrough(options), says);
  });
}

test('fetchImage() goes directly where a network of NO_PROXY has the server, and to loopback always', async () => {
  await using proxy = await startConnectProxy({ hosts });
  await using address = await addLoopbackAddress();
  const port = (server.address() as AddressInfo).port;
  const forward = net.createServer((socket) => socket.pipe(net.connect(port, '127.0.0.1')).pipe(socket));
  forward.listen(0, address.address);
  await once(forward, 'listening');
  const environment = { ALL_PROXY: proxy.host, HTTP_PROXY: 'http://p:1', NO_PROXY: ` ${address.address}/30 ,` };
  try {
    using client = createDownloadClient({ environment, tries: 1 });
    for (const host of [`${address.address}:${(forward.address() as AddressInfo).port}`, `127.0.0.1:${port}`]) {
      // The certificate is for another name: what counts is who was asked.
      await assert.rejects(fetchImage(client, [new URL(`https://${host}/image`)], never), /altnames|certificate/i);
    }
    assert.deepEqual(proxy.tunnels, []);
    using image = await fetchImage(client, [target()], never);
    assert.ok(Buffer.concat(await Array.fromAsync(image.bytes)).equals(content));
    assert.deepEqual(proxy.tunnels, [target().host]);
  } finally {
    forward.close();
  }
});

for (const [name, proxy, why] of [
  ['HTTP_PROXY', 'socks4://me:secret@p:1', 'proxies that speak socks4 are not supported'],
  ['all_proxy', 'socks://p:1', 'proxies that speak socks are not supported'],
  ['HTTP_PROXY', ':3128', 'must be [http://][user:password@]host[:port]'],
] as const) {
  test(`fetchImage() downloads nothing without the proxy ${proxy}, except what NO_PROXY names`, async () => {
    const content = 'an image';
    const mirror = http.createServer((_request, response) => response.end(content));
    await using address = await addLoopbackAddress();
    mirror.listen(0, address.address);
    await once(mirror, 'listening');
    const url = new URL(`http://${address.address}:${(mirror.address() as AddressInfo).port}/image`);
    try {
      using client = createDownloadClient({ environment: { [name]: proxy }, tries: 1 });
      await assert.rejects(fetchImage(client, [url], never), (error: Error) => {
        assert.ok(
          error.message.includes(`${name.toUpperCase()} must be`) && error.message.includes(why),
          error.message,
        );
        assert.match(error.message, /\(change the proxy, or name the server in NO_PROXY\)$/);
        assert.doesNotMatch(error.message, /secret/);
        return true;
      });
      using direct = createDownloadClient({
        environment: { [name]: proxy, no_proxy: `x ${address.address}` },
        tries: 1,
      });
      using image = await fetchImage(direct, [url], never);
      assert.equal(Buffer.concat(await Array.fromAsync(image.bytes)).toString(), content);
    } finally {
      mirror.close().closeAllConnections();
    }
  });
}

test('fetchImage() stops at once when it is interrupted while a proxy does not answer', async () => {
  await using proxy = await startConnectProxy({ silent: true });
  using client = createDownloadClient({ environment: { https_proxy: proxy.host }, timeoutSeconds: 600 });
  const abort = new AbortController();
  const fetching = fetchImage(client, [target()], abort.signal);
  fetching.catch(() => {});
  while (proxy.tunnels.length === 0) await new Promise((resolve) => setImmediate(resolve));
  abort.abort(new Error('enough'));
  await assert.rejects(fetching, /enough/);
});

test('fetchImage() does not take what a proxy says in place of the server', async () => {
  // A proxy that looks into TLS has a certificate of its own making.
  const stranger = await createCertificateAuthority();
  const { certificate: cert, key } = await stranger.issue(['mirror.example']);
  const fake = https.createServer({ cert, key }, (_request, response) => response.end('fake'));
  fake.listen(0, '127.0.0.1');
  await once(fake, 'listening');
  try {
    await using proxy = await startConnectProxy({ hosts });
    using client = createDownloadClient({ environment: { https_proxy: proxy.host }, tries: 1 });
    const url = new URL(`https://mirror.example:${(fake.address() as AddressInfo).port}/image`);
    await assert.rejects(
      fetchImage(client, [url], never),
      /\(set SSL_CERT_FILE to a file with the certificate authority to trust\)$/,
    );
  } finally {
    fake.close().closeAllConnections();
  }
});
