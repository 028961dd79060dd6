import { getCACertificates, setDefaultCACertificates } from 'node:tls';

let isSystemTrusted = false;

/**
 * From now on, whatever connects in this process and is not told whom to trust trusts what the
 * machine does (`SSL_CERT_FILE`, `SSL_CERT_DIR`, /etc/ssl/certs) besides what Node brings along.
 * All have them in common: a connection that is given them as its own reads some 300 certificates,
 * in 30 ms, and keeps them and their names, which takes several MB.
 */
export function trustSystemCertificates(): void {
  if (isSystemTrusted) return;
  isSystemTrusted = true;
  setDefaultCACertificates([...new Set([...getCACertificates('default'), ...getCACertificates('system')])]);
}

/**
 * TLS options of a connection that trusts what the machine does, and these authorities besides.
 *
 * @param authorities certificates in PEM format
 */
export function trustBesides(authorities: readonly string[]): { ca?: string[] } {
  trustSystemCertificates();
  return authorities.length === 0 ? {} : { ca: [...getCACertificates('default'), ...authorities] };
}
