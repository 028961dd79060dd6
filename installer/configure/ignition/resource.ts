import { decodeDataUrl } from './data-url.ts';
import { type Dialect, hashFunctions, urlSchemes } from './dialect.ts';
import { each, type JsonCursor, shorten } from './findings.ts';
import type { Ignition3, Resource } from './schema3.ts';
import { parseUrl } from './url.ts';

/** Checks a resource to fetch: its source and its verification. */
export function checkResource(resource: Resource, dialect: Dialect, cursor: JsonCursor): void {
  checkReference(resource, dialect, cursor);
  if (resource.verification.hash !== undefined && resource.source === undefined)
    cursor.at('verification', 'hash').error('there is a hash, but no source');
}

/**
 * As `checkResource`, for what 3.0 treated apart: a config needed neither source nor compression.
 */
export function checkReference(resource: Resource, dialect: Dialect, cursor: JsonCursor): void {
  const { compression, httpHeaders, source, verification } = resource;
  cursor.at('compression').error(whyNotCompression(compression ?? ''));
  if (verification.hash !== undefined)
    cursor.at('verification', 'hash').error(whyNotHash(verification.hash, hashFunctions(dialect)));
  if (source !== undefined && source !== '') cursor.at('source').error(whyNotSource(source, urlSchemes(dialect)));
  checkHeaders(httpHeaders, source, cursor.at('httpHeaders'));
}

export function requireSource({ source }: Resource, cursor: JsonCursor): void {
  if (source === undefined || source === '') cursor.at('source').error('there is no source');
}

export function whyNotCompression(compression: string): string | undefined {
  if (compression === '' || compression === 'gzip') return undefined;
  return `unknown compression ${shorten(compression)}; only gzip is supported`;
}

export function whyNotSource(source: string, schemes: readonly string[]): string | undefined {
  const url = parseUrl(source);
  if (url === undefined) return `${shorten(source)} is not a valid URL`;
  if (!schemes.includes(url.scheme)) {
    const what = url.scheme === '' ? 'a URL without a scheme' : `the scheme ${url.scheme}`;
    return `${what} is not supported; supported: ${schemes.join(', ')}`;
  }
  if (url.scheme === 'data') {
    const decoded = decodeDataUrl(source);
    return typeof decoded === 'string' ? decoded : undefined;
  }
  if (url.scheme === 'arn' && !isS3Arn(url.path)) {
    return 'it is not the ARN of an object in S3: arn:PARTITION:s3:REGION:ACCOUNT:BUCKET/KEY';
  }
  const hasVersion = url.scheme === 's3' || url.scheme === 'arn';
  return hasVersion && firstVersionId(url.query) === '' ? 'its versionId is empty' : undefined;
}

/** As Go's `url.ParseQuery`, which ignores parameters with a semicolon or a wrong escape. */
function firstVersionId(query: string): string | undefined {
  for (const parameter of query.split('&')) {
    if (parameter.includes(';') || /%(?![0-9a-fA-F]{2})/.test(parameter)) continue;
    const value = new URLSearchParams(parameter).get('versionId');
    if (value !== null) return value;
  }
  return undefined;
}

/** Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html. */
function isS3Arn(afterScheme: string): boolean {
  const [, service, , , ...rest] = afterScheme.split(':');
  if (service !== 's3' || rest.length === 0) return false;
  const slashes = afterScheme.split('/').length - 1;
  return slashes >= (rest.join(':').startsWith('accesspoint/') ? 2 : 1);
}

export function whyNotHash(hash: string, functions: readonly string[]): string | undefined {
  const dash = hash.indexOf('-');
  if (dash < 0) return `${shorten(hash)} is not a hash in the form sha512-0123...`;
  const name = hash.slice(0, dash);
  const digits = name === 'sha512' ? 128 : 64;
  if (!functions.includes(name)) {
    return `unknown hash function ${shorten(name)}; supported: ${functions.join(', ')}`;
  }
  const found = Buffer.byteLength(hash) - dash - 1;
  return found === digits ? undefined : `the hash has ${found} digits instead of ${digits}`;
}

function checkHeaders(headers: Resource['httpHeaders'], source: string | undefined, cursor: JsonCursor): void {
  if (headers.length === 0) return;
  cursor.error(whyNotForHeaders(source ?? ''));
  each(headers, cursor, (header, at) => {
    if (header.name === '') at.at('name').error('the header has no name');
    if (header.value === '') at.at('value').error('the header has an empty value');
  });
}

export function whyNotForHeaders(source: string): string | undefined {
  const scheme = source === '' ? undefined : parseUrl(source)?.scheme;
  return scheme === 'http' || scheme === 'https' ? undefined : 'headers need an http or https source';
}

export function checkProxy(proxy: Ignition3['proxy'], cursor: JsonCursor): void {
  for (const key of ['httpProxy', 'httpsProxy'] as const) {
    const url = proxy[key];
    if (url === undefined) continue;
    const scheme = parseUrl(url)?.scheme;
    if (scheme === undefined) cursor.at(key).error(`${shorten(url)} is not a valid URL`);
    else if (scheme !== 'http' && scheme !== 'https') cursor.at(key).error('a proxy needs an http or https URL');
    else if (scheme === 'http' && key === 'httpsProxy')
      cursor.at(key).warn('the connection to the proxy is not encrypted');
  }
}
