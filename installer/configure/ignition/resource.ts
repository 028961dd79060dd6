import { decodeDataUrl } from './data-url.ts';
import type { Dialect } from './dialect.ts';
import { checkUnique, each, type JsonCursor, shorten } from './json-cursor.ts';
import type { Resource } from './schema3.ts';
import { parseUrl } from './url.ts';

/** Checks a resource to fetch: its source and its verification. */
export function checkResource(resource: Resource | undefined, dialect: Dialect, cursor: JsonCursor): void {
  if (resource === undefined) return;
  const { compression = '', httpHeaders, source, verification } = resource;
  if (compression !== '' && compression !== 'gzip') {
    cursor.at('compression').error(`unknown compression ${shorten(compression)}; only gzip is supported`);
  }
  if (verification?.hash !== undefined) {
    const hash = cursor.at('verification', 'hash');
    if (source === undefined && dialect.hashNeedsSource) hash.error('there is a hash, but no source');
    hash.error(whyNotHash(verification.hash, dialect));
  }
  if (source !== undefined && source !== '') checkSource(source, compression, dialect, cursor.at('source'));
  checkHeaders(httpHeaders, source, cursor.at('httpHeaders'));
}

/** As `checkResource`, for a resource that needs a source. */
export function checkRequiredResource(resource: Resource, dialect: Dialect, cursor: JsonCursor): void {
  checkResource(resource, dialect, cursor);
  if (resource.source === undefined || resource.source === '') cursor.at('source').error('there is no source');
}

function checkSource(source: string, compression: string, dialect: Dialect, cursor: JsonCursor): void {
  const why = whyNotSource(source, dialect);
  cursor.error(why);
  if (why !== undefined || compression !== 'gzip' || !/^data:/i.test(source)) return;
  const data = decodeDataUrl(source);
  // Ignition detects this only while it writes the file.
  if (typeof data !== 'string' && !isGzip(data)) {
    cursor.warn('compression says gzip, but the data is not compressed with gzip');
  }
}

function isGzip(data: Buffer): boolean {
  return data[0] === 0x1f && data[1] === 0x8b;
}

function whyNotSource(source: string, dialect: Dialect): string | undefined {
  const url = parseUrl(source);
  if (url === undefined) return `${shorten(source)} is not a valid URL`;
  if (!dialect.urlSchemes.includes(url.scheme)) {
    const what = url.scheme === '' ? 'a URL without a scheme' : `the scheme ${url.scheme}`;
    return `${what} is not supported; supported: ${dialect.urlSchemes.join(', ')}`;
  }
  if (url.scheme === 'data') {
    const decoded = decodeDataUrl(source);
    return typeof decoded === 'string' ? decoded : undefined;
  }
  if (url.scheme === 'arn' && !isS3Arn(url.path)) {
    return 'it is not the ARN of an object in S3: arn:PARTITION:s3:REGION:ACCOUNT:BUCKET/KEY';
  }
  const hasVersion = url.scheme === 's3' || url.scheme === 'arn';
  const version = hasVersion ? new URLSearchParams(url.query).get('versionId') : null;
  return version === '' ? 'its versionId is empty' : undefined;
}

/** Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html. */
function isS3Arn(afterScheme: string): boolean {
  const [, service, , , ...rest] = afterScheme.split(':');
  if (service !== 's3' || rest.length === 0) return false;
  const slashes = afterScheme.split('/').length - 1;
  return slashes >= (rest.join(':').startsWith('accesspoint/') ? 2 : 1);
}

function whyNotHash(hash: string, dialect: Dialect): string | undefined {
  const dash = hash.indexOf('-');
  if (dash < 0) return `${shorten(hash)} is not a hash in the form sha512-0123...`;
  const digits = { sha512: 128, sha256: 64 }[hash.slice(0, dash)];
  if (digits === undefined || !dialect.hashes.includes(hash.slice(0, dash))) {
    return `unknown hash function ${shorten(hash.slice(0, dash))}; supported: ${dialect.hashes.join(', ')}`;
  }
  const found = Buffer.byteLength(hash) - dash - 1;
  return found === digits ? undefined : `the hash has ${found} digits instead of ${digits}`;
}

function checkHeaders(headers: Resource['httpHeaders'], source: string | undefined, cursor: JsonCursor): void {
  if (headers === undefined || headers.length === 0) return;
  const scheme = source === undefined || source === '' ? undefined : parseUrl(source)?.scheme;
  if (scheme !== 'http' && scheme !== 'https') cursor.error('headers need an http or https source');
  each(headers, cursor, (header, at) => {
    if (header.name === undefined || header.name === '') at.at('name').error('the header has no name');
    if (header.value === '') at.at('value').error('the header has an empty value');
  });
  checkUnique(headers, cursor, (header) => header.name ?? '');
}

interface Proxy {
  readonly httpProxy?: string | undefined;
  readonly httpsProxy?: string | undefined;
  readonly noProxy?: string[] | undefined;
}

export function checkProxy(proxy: Proxy | undefined, cursor: JsonCursor): void {
  for (const key of ['httpProxy', 'httpsProxy'] as const) {
    const url = proxy?.[key];
    if (url === undefined) continue;
    const scheme = parseUrl(url)?.scheme;
    if (scheme === undefined) cursor.at(key).error(`${shorten(url)} is not a valid URL`);
    else if (scheme !== 'http' && scheme !== 'https') cursor.at(key).error('a proxy needs an http or https URL');
    else if (scheme === 'http' && key === 'httpsProxy')
      cursor.at(key).warn('the connection to the proxy is not encrypted');
  }
  checkUnique(proxy?.noProxy, cursor.at('noProxy'), (host) => host);
}
