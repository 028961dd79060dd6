import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createDownloadClient, type DownloadOptions } from '../../../installer/fetch/client.ts';
import { FileChangedError } from '../../../installer/fetch/errors.ts';
import { fetchImage, fetchSmallFile } from '../../../installer/fetch/fetch.ts';
import { createCertificateAuthority } from '../../sandbox/certificates.ts';
import { type Fault, startMirror } from '../../sandbox/mirror.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';

const content = randomBytes(1_000_000);
const clock = new VirtualClock();
const quick: Partial<DownloadOptions> = { clock, tries: 3 };
const never = new AbortController().signal;

async function readAll(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(bytes));
}

/** Downloads /image from a mirror that commits `faults` on the way. */
async function download(faults: readonly Fault[], overrides: Partial<DownloadOptions> = {}) {
  await using mirror = await startMirror();
  mirror.put('/image', content);
  mirror.fail('/image', ...faults);
  using client = createDownloadClient({ ...quick, ...overrides });
  using image = await fetchImage(client, [new URL(`${mirror.url}/image`)], never);
  const bytes = await readAll(image.bytes);
  return { bytes, sizeBytes: image.sizeBytes, requests: mirror.requests };
}

test('fetchImage() reads an image in one request', async () => {
  const { bytes, sizeBytes, requests } = await download([]);
  assert.ok(bytes.equals(content));
  assert.equal(sizeBytes, content.length);
  assert.deepEqual(
    requests.map(({ method }) => method),
    ['GET'],
  );
});

test('fetchImage() continues where a connection broke, however often, as long as bytes come', async () => {
  const cuts = [100_000, 1, 0, 300_000, 7, 200_000].map((cutAfterBytes) => ({ cutAfterBytes }));
  const { bytes, requests } = await download(cuts);
  assert.ok(bytes.equals(content));
  assert.deepEqual(
    requests.map(({ range }) => range),
    [undefined, 'bytes=100000-', 'bytes=100001-', 'bytes=100001-', 'bytes=400001-', 'bytes=400008-', 'bytes=600008-'],
  );
  assert.match(requests[1]?.ifRange ?? '', /^"[0-9a-f]{16}"$/);
});

test('fetchImage() skips what it has when the server ignores ranges', async () => {
  const { bytes } = await download([{ cutAfterBytes: 123_456 }, { ignoreRange: true }]);
  assert.ok(bytes.equals(content));
});

test('fetchImage() skips what it has when the server starts a range too early', async () => {
  const { bytes } = await download([{ cutAfterBytes: 123_456 }, { shiftRangeBytes: -456 }]);
  assert.ok(bytes.equals(content));
});

test('fetchImage() asks again when the server starts a range too late', async () => {
  const { bytes } = await download([{ cutAfterBytes: 123_456 }, { shiftRangeBytes: 10 }]);
  assert.ok(bytes.equals(content));
});

test('fetchImage() waits no longer than the timeout for a stalled connection', async () => {
  const begin = clock.elapsedSeconds;
  const { bytes, requests } = await download([{ stallAfterBytes: 1000 }], { timeoutSeconds: 20 });
  assert.ok(bytes.equals(content));
  assert.equal(requests.length, 2);
  assert.equal(clock.elapsedSeconds - begin, 20 + 1, 'the timeout, and the pause after the first failure');
});

test('fetchImage() does not take the reader being slow for a stall', async () => {
  await using mirror = await startMirror();
  mirror.put('/image', content);
  using client = createDownloadClient({ ...quick, timeoutSeconds: 20 });
  using image = await fetchImage(client, [new URL(`${mirror.url}/image`)], never);
  let lengthBytes = 0;
  for await (const chunk of image.bytes) {
    if (lengthBytes === 0) await clock.wait(300);
    lengthBytes += chunk.length;
  }
  assert.equal(lengthBytes, content.length);
  assert.equal(mirror.requests.length, 1);
});

test('fetchImage() survives a connection that breaks before the reader begins', async () => {
  await using mirror = await startMirror();
  mirror.put('/image', content);
  mirror.fail('/image', { cutAfterBytes: 0 });
  using client = createDownloadClient(quick);
  using image = await fetchImage(client, [new URL(`${mirror.url}/image`)], never);
  await clock.wait(5);
  assert.ok((await readAll(image.bytes)).equals(content));
});

test('fetchImage() reads a body of unannounced length', async () => {
  const { bytes, sizeBytes } = await download([{ hideLength: true }]);
  assert.ok(bytes.equals(content));
  assert.equal(sizeBytes, undefined);
});

test('fetchImage() follows redirects and retries what passes by itself', async () => {
  const { bytes, requests } = await download([{ status: 503 }, { cutBeforeHead: true }, { redirectTo: '/image' }]);
  assert.ok(bytes.equals(content));
  assert.equal(requests.length, 4);
});

test('fetchImage() gives up on a truncated download after the last try, and says how far it came', async () => {
  const faults = [{ cutAfterBytes: 1000 }, ...Array.from({ length: 3 }, () => ({ cutAfterBytes: 0 }))];
  await assert.rejects(
    download(faults),
    /cannot download http:\S+\/image: the connection broke after 1000 of 1000000 bytes \(tried 3 times\) \(check the network/,
  );
});

test('fetchImage() says at once that the server does not have the image', async () => {
  await using mirror = await startMirror();
  using client = createDownloadClient(quick);
  await assert.rejects(
    fetchImage(client, [new URL(`${mirror.url}/none`)], never),
    /cannot download http:\S+\/none: Image URL unavailable: HTTP status 404 Not Found \(check the version/,
  );
  assert.equal(mirror.requests.length, 1);
});

test('fetchImage() retries a refused connection before it gives up', async () => {
  const notices: string[] = [];
  using client = createDownloadClient({ ...quick, onRetry: (notice) => notices.push(notice) });
  // Nothing listens on port 1 (tcpmux).
  await assert.rejects(fetchImage(client, [new URL('http://127.0.0.1:1/image')], never), /ECONNREFUSED.*tried 3 times/);
  assert.equal(notices.length, 2);
  assert.match(notices[0] ?? '', /trying again in 1 s \(attempt 2 of 3\)/);
});

const monday = 'Mon, 03 Mar 2025 10:00:00 GMT';
const tuesday = 'Tue, 04 Mar 2025 10:00:00 GMT';
for (const [name, before, after] of [
  ['by its tag', { lastModified: undefined }, { lastModified: undefined }],
  ['by its date', { etag: undefined, lastModified: monday }, { etag: undefined, lastModified: tuesday }],
  ['by tag and date', { lastModified: monday }, { lastModified: tuesday }],
] as const) {
  test(`fetchImage() notices ${name} that the file changed during the download`, async () => {
    await using mirror = await startMirror();
    mirror.put('/image', content, before);
    mirror.fail('/image', { cutAfterBytes: 1000 });
    using client = createDownloadClient(quick);
    using image = await fetchImage(client, [new URL(`${mirror.url}/image`)], never);
    mirror.put('/image', randomBytes(content.length), after);
    await assert.rejects(readAll(image.bytes), FileChangedError);
  });
}

test('fetchImage() accepts the same file under another tag, as mirrors behind one name have it', async () => {
  await using mirror = await startMirror();
  mirror.put('/image', content, { etag: '"here"' });
  mirror.fail('/image', { cutAfterBytes: 1000 });
  using client = createDownloadClient(quick);
  using image = await fetchImage(client, [new URL(`${mirror.url}/image`)], never);
  mirror.put('/image', content, { etag: '"there"' });
  assert.ok((await readAll(image.bytes)).equals(content));
});

test('fetchImage() notices that the file became shorter', async () => {
  await using mirror = await startMirror();
  mirror.put('/image', content, { etag: undefined, lastModified: undefined });
  mirror.fail('/image', { cutAfterBytes: 600_000 });
  using client = createDownloadClient(quick);
  using image = await fetchImage(client, [new URL(`${mirror.url}/image`)], never);
  mirror.put('/image', content.subarray(0, 500_000), { etag: undefined, lastModified: undefined });
  await assert.rejects(readAll(image.bytes), FileChangedError);
});

test('fetchImage() stops at once when the signal is aborted', async () => {
  await using mirror = await startMirror();
  mirror.put('/image', content);
  mirror.fail('/image', { stallAfterBytes: 1000 });
  using client = createDownloadClient({ ...quick, timeoutSeconds: 60 });
  const abort = new AbortController();
  using image = await fetchImage(client, [new URL(`${mirror.url}/image`)], abort.signal);
  const reading = readAll(image.bytes);
  abort.abort(new Error('enough'));
  await assert.rejects(reading, /enough/);
});

test('fetchImage() goes through the proxy of the environment, except where no_proxy says so', async () => {
  await using mirror = await startMirror();
  mirror.put('/image', content);
  const proxied: string[] = [];
  const proxy = http.createServer((request, response) => {
    proxied.push(request.url ?? '');
    response.end('by proxy');
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  try {
    const { port } = proxy.address() as AddressInfo;
    const environment = { http_proxy: `127.0.0.1:${port}`, no_proxy: '127.0.0.1' };
    using client = createDownloadClient({ ...quick, environment });
    using distant = await fetchImage(client, [new URL('http://mirror.example/image')], never);
    assert.equal((await readAll(distant.bytes)).toString(), 'by proxy');
    using near = await fetchImage(client, [new URL(`${mirror.url}/image`)], never);
    assert.ok((await readAll(near.bytes)).equals(content));
    assert.deepEqual(proxied, ['http://mirror.example/image']);
  } finally {
    proxy.closeAllConnections();
    proxy.close();
  }
});

test('fetchImage() trusts the authorities of the machine over TLS, and says what to do about another', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-tls-'));
  const authorities = [await createCertificateAuthority(), await createCertificateAuthority()] as const;
  const path = join(directory, 'ca.pem');
  await writeFile(path, authorities[0].certificate);
  // Read once in the life of a process, when the first secure connection is made.
  process.env['SSL_CERT_FILE'] = path;
  try {
    for (const [index, authority] of authorities.entries()) {
      const { certificate: cert, key } = await authority.issue(['localhost', '127.0.0.1']);
      const server = https.createServer({ cert, key }, (_request, response) => response.end(content));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      using _closed = { [Symbol.dispose]: () => server.close().closeAllConnections() };
      using client = createDownloadClient(quick);
      const url = new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}/image`);
      if (index === 0) {
        using image = await fetchImage(client, [url], never);
        assert.ok((await readAll(image.bytes)).equals(content));
      } else {
        await assert.rejects(
          fetchImage(client, [url], never),
          /certificate.*\(set SSL_CERT_FILE to a file with the certificate authority to trust\)/,
        );
      }
    }
  } finally {
    delete process.env['SSL_CERT_FILE'];
    await rm(directory, { recursive: true });
  }
});

test('fetchSmallFile() reads a file, retries it whole, and refuses one that is too large', async () => {
  await using mirror = await startMirror();
  mirror.put('/small', content.subarray(0, 1000));
  mirror.fail('/small', { cutAfterBytes: 10 }, { status: 500 });
  using client = createDownloadClient(quick);
  const url = new URL(`${mirror.url}/small`);
  const bytes = await fetchSmallFile(client, [url], { what: 'download the signature', maxBytes: 1000 }, never);
  assert.ok(content.subarray(0, 1000).equals(bytes));
  await assert.rejects(
    fetchSmallFile(client, [url], { what: 'download the signature', maxBytes: 999 }, never),
    /cannot download the signature \S+: it is larger than 999 bytes/,
  );
});
