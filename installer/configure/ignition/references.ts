import { createHash, X509Certificate } from 'node:crypto';
import { reasonOf } from '../../../errors/reason.ts';
import { decodeDataUrl } from './data-url.ts';
import { each, type JsonCursor } from './findings.ts';
import { gunzip } from './gunzip.ts';
import type { Config3, Resource } from './schema3.ts';

/*
 * What Ignition fetches at first boot, as far as it is in the config itself, in data URLs. What is
 * on servers cannot be checked.
 */

/** The data of a data URL, decompressed; undefined for other URLs, and after an error. */
export function readData(resource: Resource, cursor: JsonCursor): Buffer | undefined {
  const { compression = '', httpHeaders, source } = resource;
  if (httpHeaders.some(({ value }) => value === undefined)) {
    cursor.at('httpHeaders').error('a header has no value');
    return undefined;
  }
  if (source === undefined || !/^data:/i.test(source)) return undefined;
  const data = decodeDataUrl(source.replace(/^data:/i, 'data:'));
  const result = typeof data !== 'string' && compression === 'gzip' ? gunzip(data) : data;
  if (typeof result !== 'string') return result;
  const why = compression === 'gzip' ? `compression is gzip, but it cannot be decompressed: ${result}` : result;
  cursor.at('source').error(why);
  return undefined;
}

/** Digits may be in upper case for files, but not for configs, which Ignition compares as text. */
export function checkHash({ verification }: Resource, data: Buffer | undefined, cursor: JsonCursor): void {
  const [name, digits] = hashParts(verification.hash);
  const at = cursor.at('verification', 'hash');
  if (!/^([0-9a-f]{2})*$/i.test(digits)) {
    at.error('the hash has other characters than hexadecimal digits');
    return;
  }
  if (name !== '' && data !== undefined) compareHash(name, digits.toLowerCase(), data, at);
}

export function checkConfigHash({ verification }: Resource, data: Buffer, cursor: JsonCursor): void {
  const [name, digits] = hashParts(verification.hash);
  if (name !== '') compareHash(name, digits, data, cursor.at('verification', 'hash'));
}

function hashParts(hash = ''): readonly [name: string, digits: string] {
  const dash = hash.indexOf('-');
  return [hash.slice(0, Math.max(dash, 0)), hash.slice(dash + 1)];
}

function compareHash(name: string, expected: string, data: Buffer, cursor: JsonCursor): void {
  const found = createHash(name).update(data).digest('hex');
  if (found !== expected) cursor.error(`the data has another hash: ${name}-${found}`);
}

/** Files, keys of encrypted disks. */
export function checkContents({ storage }: Config3, cursor: JsonCursor): void {
  const check = (resource: Resource, at: JsonCursor) => checkHash(resource, readData(resource, at), at);
  each(storage.luks, cursor.at('storage', 'luks'), ({ keyFile }, at) => {
    if (keyFile.source !== undefined) check(keyFile, at.at('keyFile'));
  });
  each(storage.files, cursor.at('storage', 'files'), ({ append, contents }, at) => {
    if (contents.source !== undefined) check(contents, at.at('contents'));
    each(append, at.at('append'), (fragment, fragmentAt) => {
      if (fragment.source === undefined) fragmentAt.error('there is no source: Ignition crashes on it');
      else check(fragment, fragmentAt);
    });
  });
}

/** Certificates, which Ignition loads before it fetches anything else. */
export function checkCertificates({ ignition }: Config3, cursor: JsonCursor): void {
  const list = cursor.at('ignition', 'security', 'tls', 'certificateAuthorities');
  each(ignition.security.tls.certificateAuthorities, list, (resource, at) => {
    const data = readData(resource, at);
    checkHash(resource, data, at);
    if (data !== undefined) at.at('source').error(whyNotCertificates(data.toString('latin1')));
  });
}

/** Type, headers, data. Source: RFC 1421 and https://pkg.go.dev/encoding/pem#Decode. */
const pemBlock =
  /(?:^|\n)-----BEGIN ([^\n]*?)-----[ \t\r]*\n(?:[^\n:]*:[^\n]*\n)*([A-Za-z0-9+/=\s]*?)(?<=\n)-----END \1-----[ \t\r]*(?:\n|$)/;

/**
 * Ignition wants certificates to the last byte: text may stand before each, but not after the last.
 */
function whyNotCertificates(text: string): string | undefined {
  for (let rest = text; rest !== ''; ) {
    const block = pemBlock.exec(rest);
    if (block === null) {
      return rest === text ? 'the data is not a certificate in PEM' : 'text follows the last certificate: remove it';
    }
    try {
      new X509Certificate(Buffer.from((block[2] ?? '').replace(/\s/g, ''), 'base64'));
    } catch (error) {
      return `the data has a certificate that cannot be read: ${reasonOf(error)}`;
    }
    rest = rest.slice(block.index + block[0].length);
  }
  return undefined;
}
