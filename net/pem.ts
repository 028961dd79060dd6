import { X509Certificate } from 'node:crypto';
import { reasonOf } from '../errors/reason.ts';

/** The labels of certificates: RFC 7468, section 5, and the older ones of OpenSSL. */
const begin = /-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----/g;

/**
 * The certificates in a text in PEM format (RFC 7468). Other text in it is ignored.
 *
 * @returns at least one, each as PEM of its own
 * @throws {Error} there is none, or one of them cannot be read
 */
export function parseCertificates(pem: string): string[] {
  const blocks = [...blocksIn(pem)];
  if (blocks.length === 0) throw new Error('it contains no certificate in PEM format');
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block).toString();
    } catch (cause) {
      throw new Error(`certificate ${index + 1} in it cannot be read: ${reasonOf(cause)}`, { cause });
    }
  });
}

/** From each first line to the next last line with its label. Servers send such texts. */
function* blocksIn(text: string): Generator<string> {
  /** Searched for to the end of the text once, not from each of thousands of first lines. */
  const labelsWithoutEnd = new Set<string>();
  let offset = 0;
  for (const { 0: line, 1: label = '', index } of text.matchAll(begin)) {
    if (index < offset || labelsWithoutEnd.has(label)) continue;
    const lastLine = `-----END ${label}-----`;
    const end = text.indexOf(lastLine, index + line.length);
    if (end < 0) {
      labelsWithoutEnd.add(label);
      continue;
    }
    offset = end + lastLine.length;
    yield text.slice(index, offset);
  }
}
