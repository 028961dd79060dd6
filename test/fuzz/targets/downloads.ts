/** What download servers answer: headers, version.txt, files of hashes. */
import type http from 'node:http';
import { Readable } from 'node:stream';
import { isVersion } from '../../../installer/age.ts';
import { InstallError } from '../../../installer/errors.ts';
import { createDownloadClient, type DownloadClient } from '../../../installer/fetch/client.ts';
import {
  FileChangedError,
  NotFoundError,
  TransientStatusError,
  TruncatedError,
} from '../../../installer/fetch/errors.ts';
import {
  announcedSizeBytes,
  identityOf,
  partError,
  partOf,
  requirePart,
  requireSame,
  statusError,
} from '../../../installer/fetch/resume.ts';
import { findHash } from '../../../installer/image2disk/checks.ts';
import { resolveRelease } from '../../../installer/release.ts';
import type { HttpResponse } from '../../../net/http-client.ts';
import { withSingleLength } from '../../../net/single-length.ts';
import { connectionOf } from '../connection.ts';
import { wordsOf } from '../inputs.ts';
import { require, type Target } from '../target.ts';

function responseOf(status: number, headers: http.IncomingHttpHeaders, body: Buffer): HttpResponse {
  const stream = Readable.from(body.length === 0 ? [] : [body]) as http.IncomingMessage;
  const url = new URL('https://mirror.example/file');
  return { url, secure: true, status, statusText: 'text', headers, body: stream, discard: () => void stream.destroy() };
}

const headerNames = ['content-range: ', 'content-length: ', 'etag: ', 'last-modified: ', 'retry-after: '];

export const headersTarget: Target = {
  name: 'http-headers',
  seeds: [
    'content-range: bytes 0-99/1000\ncontent-length: 100\netag: "a"',
    'content-range: bytes 5-/*\nlast-modified: x\netag: W/"b"',
    'content-length: 9007199254740993\nretry-after: Thu, 01 Jan 1970 00:00:00 GMT',
  ],
  generated: wordsOf([...headerNames, '\n', 'bytes ', '0', '9', '-', '/', '*', '99999999999999999999']),
  words: [...headerNames, 'bytes ', '0-0/1', '/*', '99999999999999999999'],
  maxBytes: 16 * 1024,
  refusals: [FileChangedError, NotFoundError, TransientStatusError, TruncatedError],
  check(input) {
    const lines = input.toString('latin1').split('\n');
    const headers = Object.fromEntries(lines.map((line) => line.split(': ', 2) as [string, string]));
    const before = identityOf(
      responseOf(200, { 'content-length': '1000', etag: '"a"' }, Buffer.alloc(0)),
      new URL('https://a/'),
    );
    for (const status of [200, 206, 404, 416, 503]) {
      const response = responseOf(status, headers, Buffer.alloc(0));
      const size = announcedSizeBytes(response);
      require(size === undefined || size >= 0, () => `a size of ${size}`);
      const part = partOf(response);
      if (part !== undefined) {
        const { startBytes, endBytes, sizeBytes = Infinity } = part;
        const isPart = startBytes >= 0 && startBytes < endBytes && endBytes <= sizeBytes;
        require(isPart && Number.isSafeInteger(endBytes), () => `the part ${JSON.stringify(part)}`);
      }
      statusError(response);
      partError(response, new URL('https://a/'));
      requireSame(before, identityOf(response, new URL('https://b/')));
      requirePart(response);
    }
  },
};

/** A download of these bytes from any server. */
function clientOf(body: Buffer): DownloadClient {
  const { options, [Symbol.dispose]: dispose } = createDownloadClient({ tries: 1 });
  return { options, get: async () => responseOf(200, {}, body), [Symbol.dispose]: dispose };
}

export const versionTarget: Target = {
  name: 'version-txt',
  seeds: [
    'FLATCAR_BUILD=4593\nFLATCAR_VERSION=4593.2.0\nFLATCAR_VERSION_ID=4593.2.0\n',
    'FLATCAR_VERSION="4593.2.0+nightly-1"\r\n',
    "FLATCAR_VERSION='../../x'",
    'FLATCAR_VERSION=\x1b[2J',
  ],
  words: ['FLATCAR_VERSION=', '4593.2.0', '+a', '-b', '/..'],
  refusals: [InstallError],
  async check(input) {
    const release = { channel: 'stable', board: 'amd64-usr', version: 'current', oem: '', baseUrls: ['https://a/b'] };
    using client = clientOf(input);
    const { version } = await resolveRelease(release, client, new AbortController().signal);
    require(isVersion(version) && !version.includes('..'), () => `the version ${version}`);
  },
};

const hash = '0a'.repeat(32);

export const sumsTarget: Target = {
  name: 'sha256sums',
  seeds: [
    `${hash}  image.raw.gz\n${hash.replaceAll('0', '1')} *other\n`,
    `SHA512 (dir/image.raw.gz) = ${hash}${hash}\n`,
    `\\${hash}  image.raw.gz\r\n`,
    `${hash}\n`,
  ],
  words: [hash, '  image.raw.gz\n', ' *', 'SHA256 (', ') = ', '\\'],
  refusals: [InstallError],
  check(input) {
    const text = input.toString();
    const found = findHash(text, 'image.raw.gz', new URL('https://a/SHA256SUMS'));
    const digits = found.algorithm === 'sha256' ? 64 : 128;
    require(found.digest.length === digits && text.toLowerCase().includes(found.digest), () =>
      `the hash ${found.digest}`);
  },
};

export const singleLengthTarget: Target = {
  name: 'http-response-head',
  seeds: [
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\nA: b\r\n\r\nhello',
    'HTTP/1.1 200 OK\nContent-Length: 5, 5\n\nhello',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
    // Spaces that parts of a regular expression shared in all ways.
    `HTTP/1.1 200 OK\r\nContent-Length:${' '.repeat(4000)}\rx\r\n\r\nhello`,
  ],
  words: ['Content-Length: 5\r\n', 'content-length:\t5 \n', '\r\n\r\n', '\n\n', ', 5'],
  async check(input) {
    const read: Buffer[] = [];
    for await (const chunk of withSingleLength(connectionOf(input))) read.push(chunk);
    const output = Buffer.concat(read).toString('latin1');
    const text = input.toString('latin1');
    const lengths = (head: string) => [...head.matchAll(/^content-length[ \t]*:([^\n]*)/gim)].map(([, value]) => value);
    const others = (all: string) => all.replaceAll(/^content-length[ \t]*:[^\n]*\n/gim, '');
    require(others(output) === others(text), () => 'something else than the length changed');
    require(lengths(output).length <= lengths(text).length, () => 'there are more lengths than before');
  },
};
