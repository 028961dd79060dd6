import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createDownloadClient, type DownloadOptions } from '../../../installer/fetch/client.ts';
import { FileChangedError } from '../../../installer/fetch/errors.ts';
import type { RangedImage, StreamedImage } from '../../../installer/fetch/random-access.ts';
import { openRanges } from '../../../installer/fetch/ranges.ts';
import { wholeImage } from '../../../installer/fetch/whole-image.ts';
import { type Fault, type Mirror, type MirrorFileOptions, startMirror } from '../../sandbox/mirror.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';

const mebibyte = 1024 * 1024;
/** More than what is read when an image is opened. */
const content = randomBytes(3 * mebibyte);
const clock = new VirtualClock();
const quick: Partial<DownloadOptions> = { clock, tries: 3 };
const never = new AbortController().signal;

async function bytesOf(access: RangedImage, start: number, end: number): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(access.read(start, end - start, never)));
}

function requireRanges(access: RangedImage | StreamedImage): RangedImage {
  return access.isSequential ? assert.fail('it is a stream') : access;
}

interface Served {
  readonly access: RangedImage;
  readonly mirror: Mirror;
}

/** Opens the content on a mirror, and gives it to `use`. */
async function withRanges(
  use: (served: Served) => Promise<void>,
  { file, overrides }: { file?: MirrorFileOptions; overrides?: Partial<DownloadOptions> } = {},
): Promise<void> {
  await using mirror = await startMirror();
  mirror.put('/image', content, file);
  using client = createDownloadClient({ ...quick, ...overrides });
  using access = requireRanges(await openRanges(client, [new URL(`${mirror.url}/image`)], never));
  await use({ access, mirror });
}

const [start, end] = [2 * mebibyte, 2 * mebibyte + 300_000];
const expected = content.subarray(start, end);

test('openRanges() reads the first MiB when it opens an image, and parts in any order then', async () => {
  await withRanges(async ({ access, mirror }) => {
    assert.equal(access.sizeBytes, content.length);
    assert.equal(access.origin, `${mirror.url}/image`);
    for (const [from, to] of [
      [start, end],
      [0, 104],
      [mebibyte - 10, mebibyte + 10],
      [content.length - 1, content.length + 500],
    ] as const)
      assert.ok((await bytesOf(access, from, to)).equals(content.subarray(from, to)), `${from} to ${to}`);
    assert.deepEqual(
      mirror.requests.map(({ range }) => range),
      ['bytes=0-1048575', `bytes=${start}-${end - 1}`, 'bytes=1048576-1048585', 'bytes=3145727-3145727'],
    );
    assert.deepEqual(new Set(mirror.requests.slice(1).map(({ ifRange }) => ifRange)).size, 1);
    assert.match(mirror.requests[1]?.ifRange ?? '', /^"[0-9a-f]{16}"$/);
  });
});

test('openRanges() reads several parts at once', async () => {
  await withRanges(async ({ access }) => {
    const starts = Array.from({ length: 8 }, (_, i) => mebibyte + i * 200_000);
    const parts = await Promise.all(starts.map((from) => bytesOf(access, from, from + 200_000)));
    for (const [i, from] of starts.entries()) assert.ok(parts[i]?.equals(content.subarray(from, from + 200_000)));
  });
});

test('openRanges() reads a file that is smaller than what it reads first', async () => {
  await using mirror = await startMirror();
  mirror.put('/image', content.subarray(0, 1000));
  using client = createDownloadClient(quick);
  using access = requireRanges(await openRanges(client, [new URL(`${mirror.url}/image`)], never));
  assert.equal(access.sizeBytes, 1000);
  assert.ok((await bytesOf(access, 0, 2000)).equals(content.subarray(0, 1000)));
  assert.equal((await bytesOf(access, 5000, 6000)).length, 0);
  assert.equal(mirror.requests.length, 1);
});

const survived: Readonly<Record<string, readonly [faults: readonly Fault[], notice: RegExp | undefined]>> = {
  'a connection that breaks, however often, as long as bytes come': [
    [{ cutAfterBytes: 100_000 }, { cutAfterBytes: 1 }, { cutAfterBytes: 100_000 }, { cutAfterBytes: 0 }],
    /the connection broke after \d+ of 3145728 bytes/,
  ],
  'a connection that stalls': [[{ stallAfterBytes: 5000 }], /data/],
  'a server that is busy for a while': [[{ status: 503 }, { cutBeforeHead: true }], /HTTP status 503/],
  'a redirect': [[{ redirectTo: '/image' }], undefined],
  'a server that starts a part too early': [[{ shiftRangeBytes: -5000 }], undefined],
  'a server that starts a part much too early': [
    [{ shiftRangeBytes: -1_500_000 }],
    /the server sent the file from byte 597152, not from byte 2097152/,
  ],
  'a server that starts a part too late': [
    [{ shiftRangeBytes: 10 }],
    /the server sent the file from byte 2097162, not from byte 2097152/,
  ],
  'a server that ignores the range once': [[{ ignoreRange: true }], /the whole file instead of a part of it/],
  'a part without its range': [[{ contentRange: '' }], /a part of the file without its range/],
  'a part of no announced length': [[{ hideLength: true }], undefined],
  'a part that is shorter than the range that it names': [
    [
      { contentRange: `bytes ${start}-${end}/${content.length}` },
      { contentRange: `bytes ${start}-${end}/${content.length}`, hideLength: true },
    ],
    /the server announced 300000 bytes for bytes 2097152 to 2397152/,
  ],
  'a part that is longer than the range that it names': [
    [{ contentRange: `bytes ${start}-${end - 50_000}/${content.length}`, hideLength: true }],
    /the server sent more than the range that it names/,
  ],
  'a range that ends before it begins': [[{ contentRange: 'bytes 5-2/9' }], /without its range/],
  'a range that ends behind the file': [
    [{ contentRange: `bytes ${start}-${content.length}/${content.length}` }],
    /without its range/,
  ],
};
for (const [name, [faults, notice]] of Object.entries(survived)) {
  test(`openRanges() survives ${name}`, async () => {
    const notices: string[] = [];
    await withRanges(
      async ({ access, mirror }) => {
        mirror.fail('/image', ...faults);
        assert.ok((await bytesOf(access, start, end)).equals(expected));
        assert.ok(mirror.requests.length >= 1 + faults.length, 'all faults were committed');
      },
      { overrides: { onRetry: (text) => notices.push(text) } },
    );
    if (notice === undefined) assert.deepEqual(notices, []);
    else assert.match(notices[0] ?? '', notice);
  });
}

test('openRanges() gives up on a server that never sends the part', async () => {
  await withRanges(async ({ access, mirror }) => {
    mirror.fail('/image', ...Array.from({ length: 3 }, () => ({ ignoreRange: true })));
    await assert.rejects(
      bytesOf(access, start, end),
      /cannot download http:\S+\/image: the server sent the whole file instead of a part of it \(tried 3 times\)/,
    );
  });
});

test('openRanges() says how far it came when a connection breaks for the last time', async () => {
  await withRanges(async ({ access, mirror }) => {
    mirror.fail('/image', { cutAfterBytes: 100 }, ...Array.from({ length: 3 }, () => ({ cutAfterBytes: 0 })));
    await assert.rejects(
      bytesOf(access, start, end),
      /the connection broke after 2097252 of 3145728 bytes \(tried 3 times\) \(check the network/,
    );
  });
});

const monday = 'Mon, 03 Mar 2025 10:00:00 GMT';
const tuesday = 'Tue, 04 Mar 2025 10:00:00 GMT';
for (const [name, before, after] of [
  ['by its tag', { lastModified: undefined }, { lastModified: undefined }],
  ['by its date', { etag: undefined, lastModified: monday }, { etag: undefined, lastModified: tuesday }],
  ['by tag and date', { lastModified: monday }, { lastModified: tuesday }],
] as const) {
  test(`openRanges() notices ${name} that the file changed between two requests`, async () => {
    await withRanges(
      async ({ access, mirror }) => {
        mirror.put('/image', randomBytes(content.length), after);
        await assert.rejects(bytesOf(access, start, end), FileChangedError);
      },
      { file: before },
    );
  });
}

test('openRanges() notices that the file has another length now', async () => {
  for (const length of [content.length - 1, start]) {
    await withRanges(
      async ({ access, mirror }) => {
        mirror.put('/image', content.subarray(0, length), { etag: undefined, lastModified: undefined });
        await assert.rejects(bytesOf(access, start, end), FileChangedError);
      },
      { file: { etag: undefined, lastModified: undefined } },
    );
  }
});

for (const [name, file, faults] of [
  ['ignores ranges', { ranges: false }, []],
  ['ignores ranges and announces no length', { ranges: false }, [{ hideLength: true }]],
  ['sends another part than the first', {}, [{ shiftRangeBytes: 7 }]],
  ['does not say which part it sends', {}, [{ contentRange: '' }]],
  ['does not say how long the file is', {}, [{ contentRange: 'bytes 0-1048575/*' }]],
  ['refuses ranges', {}, [{ status: 416 }]],
] as const) {
  test(`openRanges() opens the whole image as a stream where the server ${name}`, async () => {
    await using mirror = await startMirror();
    mirror.put('/image', content, file);
    mirror.fail('/image', ...faults);
    using client = createDownloadClient(quick);
    using access = await openRanges(client, [new URL(`${mirror.url}/image`)], never);
    assert.equal(access.isSequential, true);
    const beginning = Buffer.concat(await Array.fromAsync(access.read(0, 1000, never)));
    assert.ok(beginning.equals(content.subarray(0, 1000)));
    using whole = wholeImage(access, never);
    assert.ok(Buffer.concat(await Array.fromAsync(whole.bytes)).equals(content));
  });
}

test('openRanges() retries, and says at once that the server does not have the image', async () => {
  await using mirror = await startMirror();
  mirror.put('/image', content);
  mirror.fail('/image', { status: 503 }, { cutAfterBytes: 1000 });
  using client = createDownloadClient(quick);
  using access = requireRanges(await openRanges(client, [new URL(`${mirror.url}/image`)], never));
  assert.equal(access.sizeBytes, content.length);
  await assert.rejects(
    openRanges(client, [new URL(`${mirror.url}/none`)], never),
    /cannot download http:\S+\/none: Image URL unavailable: HTTP status 404 Not Found/,
  );
});

test('openRanges() reads from another mirror when one fails, and asks that one first then', async () => {
  await using first = await startMirror();
  await using second = await startMirror('127.0.0.2');
  first.put('/image', content);
  second.put('/image', content, { etag: '"another tag"' });
  using client = createDownloadClient(quick);
  const urls = [new URL(`${first.url}/image`), new URL(`${second.url}/image`)];
  using access = requireRanges(await openRanges(client, urls, never));
  first.remove('/image');
  assert.ok((await bytesOf(access, start, end)).equals(expected));
  assert.equal(first.requests.length, 2);
  assert.ok((await bytesOf(access, start + 1, end)).equals(expected.subarray(1)));
  assert.equal(first.requests.length, 2);
  assert.equal(second.requests.length, 2);
  assert.equal(second.requests[0]?.ifRange, undefined, 'a tag of the other server');
});

test('openRanges() notices that another mirror has another file', async () => {
  await using first = await startMirror();
  await using second = await startMirror('127.0.0.2');
  first.put('/image', content);
  second.put('/image', content.subarray(1));
  using client = createDownloadClient(quick);
  const urls = [new URL(`${first.url}/image`), new URL(`${second.url}/image`)];
  using access = requireRanges(await openRanges(client, urls, never));
  first.remove('/image');
  await assert.rejects(bytesOf(access, start, end), /this mirror has another file/);
});

test('openRanges() stops at once when the signal of a read is aborted, or the image is disposed of', async () => {
  for (const how of ['signal', 'dispose'] as const) {
    await using mirror = await startMirror();
    mirror.put('/image', content);
    using client = createDownloadClient({ ...quick, timeoutSeconds: 60 });
    using access = requireRanges(await openRanges(client, [new URL(`${mirror.url}/image`)], never));
    mirror.fail('/image', { stallAfterBytes: 1000 });
    const abort = new AbortController();
    const reading = access.read(start, end - start, abort.signal)[Symbol.asyncIterator]();
    assert.ok(!(await reading.next()).done);
    const next = reading.next();
    if (how === 'signal') abort.abort(new Error('enough'));
    else access[Symbol.dispose]();
    await assert.rejects(next, how === 'signal' ? /enough/ : { name: 'AbortError' });
    assert.equal(mirror.requests.length, 2);
  }
});

test('wholeImage() reads an image on a server with ranges in two requests', async () => {
  await withRanges(async ({ access, mirror }) => {
    using image = wholeImage(access, never);
    assert.equal(image.sizeBytes, content.length);
    assert.ok(Buffer.concat(await Array.fromAsync(image.bytes)).equals(content));
    assert.deepEqual(
      mirror.requests.map(({ range }) => range),
      ['bytes=0-1048575', 'bytes=1048576-3145727'],
    );
  });
});

test('openRanges() takes shorter parts than it requests, and uses the connection again', async () => {
  const maxPartBytes = 100_000;
  const notices: string[] = [];
  let connections = 0;
  const server = http.createServer((request, response) => {
    const [, first, last] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [];
    const from = Number(first);
    const part = content.subarray(from, Math.min(Number(last) + 1, from + maxPartBytes));
    const range = `bytes ${from}-${from + part.length - 1}/${content.length}`;
    response.writeHead(206, { 'content-range': range, 'content-length': part.length }).end(part);
  });
  server.on('connection', () => connections++);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  using _closed = { [Symbol.dispose]: () => server.close().closeAllConnections() };
  const { port } = server.address() as AddressInfo;
  using client = createDownloadClient({ ...quick, tries: 1, onRetry: (notice) => notices.push(notice) });
  using access = requireRanges(await openRanges(client, [new URL(`http://127.0.0.1:${port}/image`)], never));
  assert.ok((await bytesOf(access, 0, content.length)).equals(content));
  assert.equal(connections, 1);
  assert.deepEqual(notices, []);
});
