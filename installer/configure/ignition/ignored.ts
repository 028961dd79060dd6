import { gunzip } from './gunzip.ts';

/**
 * Ignition ignores user data that is for other programs, and goes on without a config.
 * Source: config/util/parsingErrors.go of https://github.com/coreos/ignition with Flatcar's
 * patches.
 * @returns what it is; undefined for what Ignition reads
 */
export function whyIgnored(bytes: Buffer): string | undefined {
  if (bytes.length === 0) return 'it is empty';
  const text = decompress(bytes);
  const end = text.indexOf(0x0a);
  const firstLine = text.subarray(0, end < 0 ? text.length : end).toString();
  if (firstLine.trimEnd() === '#cloud-config') return 'it is a cloud-config';
  if (firstLine.startsWith('#!')) return 'it is a script';
  return isMultipart(text) ? 'it is a MIME message of several parts' : undefined;
}

function decompress(bytes: Buffer): Buffer {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const data = gunzip(bytes);
  return typeof data === 'string' ? bytes : data;
}

const headerLine = /^[!#-'*+\-.0-9A-Z^-z|~]+:/;

/** Needs a whole header: lines of it, and the empty line that ends it. */
function isMultipart(text: Buffer): boolean {
  const lines = text.subarray(0, 65_536).toString('latin1').split(/\r?\n/);
  const end = lines.indexOf('');
  const header = lines.slice(0, end);
  if (end < 1 || end === lines.length - 1 || !headerLine.test(header[0] ?? '')) return false;
  if (!header.every((line) => headerLine.test(line) || /^[ \t]/.test(line))) return false;
  const unfolded = header.join('\n').replace(/\n[ \t]+/g, ' ');
  const type = unfolded.split('\n').find((line) => /^content-type:/i.test(line));
  return type?.slice('content-type:'.length).includes('multipart/mixed') === true;
}
