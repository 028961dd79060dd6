import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createDownloadClient, type DownloadOptions } from '../../../installer/fetch/client.ts';
import {
  FileChangedError,
  isNotFoundAnywhere,
  NoMirrorLeftError,
  NotFoundError,
  TruncatedError,
} from '../../../installer/fetch/errors.ts';
import { fetchImage, fetchSmallFile } from '../../../installer/fetch/fetch.ts';
import { type Mirror, startMirror } from '../../sandbox/mirror.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';

const content = randomBytes(1_000_000);
const clock = new VirtualClock();
const never = new AbortController().signal;
/** Nothing listens there. */
const closed = new URL('http://127.0.0.1:1/image');

interface Calls {
  readonly notices: string[];
  readonly pauses: number[];
}

function patientClient(overrides: Partial<DownloadOptions> = {}) {
  const calls: Calls = { notices: [], pauses: [] };
  const client = createDownloadClient({
    clock,
    tries: 3,
    pauseSeconds(failures) {
      calls.pauses.push(failures);
      return failures;
    },
    onRetry: (notice) => calls.notices.push(notice),
    ...overrides,
  });
  return { client, calls };
}

const imageOf = (mirror: Mirror) => new URL(`${mirror.url}/image`);

async function readAll(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(bytes));
}

test('fetchImage() goes on with the next mirror where one breaks off, at once and from the same byte', async () => {
  await using first = await startMirror();
  await using second = await startMirror();
  first.put('/image', content, { etag: '"of first"', lastModified: 'Mon, 03 Mar 2025 10:00:00 GMT' });
  second.put('/image', content, { etag: '"of second"', lastModified: 'Tue, 04 Mar 2025 10:00:00 GMT' });
  first.fail('/image', { cutAfterBytes: 300_000 });
  const { client, calls } = patientClient();
  using _client = client;
  using image = await fetchImage(client, [imageOf(first), imageOf(second)], never);
  assert.ok((await readAll(image.bytes)).equals(content));
  assert.deepEqual([first.requests.length, second.requests.map(({ range }) => range)], [1, ['bytes=300000-']]);
  assert.equal(second.requests[0]?.ifRange, undefined, "another server's validator means nothing");
  assert.deepEqual(calls.pauses, []);
  assert.equal(
    calls.notices.join(),
    `${first.url}/image: the connection broke after 300000 of 1000000 bytes; trying ${second.url}/image`,
  );
});

test('fetchImage() comes back to the first mirror where the others fail too, and pauses only for those that failed', async () => {
  await using first = await startMirror();
  await using second = await startMirror();
  first.put('/image', content);
  second.put('/image', content);
  first.fail('/image', { cutAfterBytes: 300_000 }, { status: 503 });
  second.fail('/image', { status: 503 }, { cutAfterBytes: 100_000 });
  const { client, calls } = patientClient();
  using _client = client;
  using image = await fetchImage(client, [imageOf(first), imageOf(second)], never);
  assert.ok((await readAll(image.bytes)).equals(content));
  assert.deepEqual(
    [first, second].map(({ requests }) => requests.map(({ range }) => range)),
    [
      [undefined, 'bytes=300000-', 'bytes=400000-'],
      ['bytes=300000-', 'bytes=300000-'],
    ],
  );
  assert.deepEqual(calls.pauses, [1, 1], 'new bytes reset the failures of every mirror');
});

test('fetchImage() starts with the mirror that has the image, and does not ask again where it is not', async () => {
  await using without = await startMirror();
  await using second = await startMirror();
  second.put('/image', content);
  second.fail('/image', { cutAfterBytes: 10 });
  const { client } = patientClient();
  using _client = client;
  using image = await fetchImage(client, [closed, imageOf(without), imageOf(second)], never);
  assert.equal(image.origin, `${second.url}/image`);
  // Once at the beginning, and once more when the second broke off.
  assert.ok((await readAll(image.bytes)).equals(content));
  assert.deepEqual(
    without.requests.map(({ range }) => range),
    [undefined, 'bytes=10-'],
  );
});

test('fetchImage() does not join two different files: it names the server of the other one', async () => {
  await using first = await startMirror();
  await using second = await startMirror();
  first.put('/image', content);
  second.put('/image', content.subarray(1));
  first.fail('/image', { cutAfterBytes: 300_000 });
  const { client } = patientClient();
  using _client = client;
  using image = await fetchImage(client, [imageOf(first), imageOf(second)], never);
  await assert.rejects(readAll(image.bytes), (error) => {
    assert.ok(error instanceof FileChangedError, String(error));
    assert.deepEqual([error.url.href, error.message], [`${second.url}/image`, 'this mirror has another file']);
    return true;
  });
});

test('fetchImage() asks a server that answers with an error a few times only, and the next mirror at once', async () => {
  await using broken = await startMirror();
  await using second = await startMirror();
  for (const mirror of [broken, second]) mirror.put('/image', content);
  broken.fail('/image', ...Array.from({ length: 20 }, () => ({ status: 500 })));
  const { client, calls } = patientClient({ tries: 10 });
  using _client = client;
  await assert.rejects(
    fetchImage(client, [imageOf(broken)], never),
    /HTTP status 500 Internal Server Error \(tried 4 times\) \(try again later, or use another server\)$/,
  );
  assert.deepEqual([broken.requests.length, calls.pauses], [4, [1, 2, 3]]);
  assert.match(calls.notices.at(-1) ?? '', /trying again in 3 s \(attempt 4 of 4\)$/);
  calls.pauses.length = 0;
  using image = await fetchImage(client, [imageOf(broken), imageOf(second)], never);
  assert.equal(image.origin, `${second.url}/image`);
  assert.deepEqual([broken.requests.length, calls.pauses], [5, []]);
});

test('fetchImage() counts an error of the server apart from connections that failed before', async () => {
  await using mirror = await startMirror();
  mirror.put('/image', content);
  mirror.fail('/image', ...Array.from({ length: 5 }, () => ({ cutBeforeHead: true })), { status: 503 });
  const { client, calls } = patientClient({ tries: 10 });
  using _client = client;
  using image = await fetchImage(client, [imageOf(mirror)], never);
  assert.ok((await readAll(image.bytes)).equals(content));
  assert.deepEqual(calls.pauses, [1, 2, 3, 4, 5, 6]);
});

test('fetchImage() says for each mirror why it could not be used', async () => {
  await using without = await startMirror();
  const { client } = patientClient({ tries: 2 });
  using _client = client;
  await assert.rejects(
    fetchImage(client, [closed, imageOf(without)], never),
    new RegExp(
      `^InstallError: cannot download ${closed} or ${without.url}/image: Image URL unavailable: ` +
        `${without.url}/image: HTTP status 404 Not Found; ` +
        `${closed}: connect ECONNREFUSED 127.0.0.1:1 \\(tried 2 times\\) \\(check the version, channel, board and each base URL\\)$`,
    ),
  );
});

test('isNotFoundAnywhere() is false as long as one mirror has not said that it does not have the file', () => {
  const [notFound, truncated] = [new NotFoundError('404'), new TruncatedError('the connection ended')];
  const failure = (error: Error) => ({ url: closed, error });
  assert.ok(isNotFoundAnywhere(notFound));
  assert.ok(isNotFoundAnywhere(new NoMirrorLeftError([failure(notFound), failure(notFound)])));
  assert.ok(!isNotFoundAnywhere(new NoMirrorLeftError([failure(notFound), failure(truncated)])));
  assert.ok(!isNotFoundAnywhere(truncated));
});

test('fetchSmallFile() takes a file from the first mirror that has it whole', async () => {
  await using first = await startMirror();
  await using second = await startMirror();
  for (const mirror of [first, second]) mirror.put('/image', content.subarray(0, 1000));
  first.fail('/image', { cutAfterBytes: 10 });
  const { client } = patientClient();
  using _client = client;
  const what = { what: 'download the signature', maxBytes: 1000 };
  const bytes = await fetchSmallFile(client, [imageOf(first), imageOf(second)], what, never);
  assert.ok(content.subarray(0, 1000).equals(bytes));
  assert.deepEqual([first.requests.length, second.requests.length], [1, 1]);
});
