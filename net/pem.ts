import { X509Certificate } from 'node:crypto';
import { reasonOf } from '../errors/reason.ts';

/** The labels of certificates: RFC 7468, section 5, and the older ones of OpenSSL. */
const certificateBlock = /-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----[\s\S]*?-----END \1-----/g;

/**
 * The certificates in a text in PEM format (RFC 7468). Other text in it is ignored.
 *
 * @returns at least one, each as PEM of its own
 * @throws {Error} there is none, or one of them cannot be read
 */
export function parseCertificates(pem: string): string[] {
  const blocks = pem.match(certificateBlock) ?? [];
  if (blocks.length === 0) throw new Error('it contains no certificate in PEM format');
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block).toString();
    } catch (cause) {
      throw new Error(`certificate ${index + 1} in it cannot be read: ${reasonOf(cause)}`, { cause });
    }
  });
}
