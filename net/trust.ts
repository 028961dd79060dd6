import { getCACertificates, setDefaultCACertificates } from 'node:tls';

let isSystemTrusted = false;

/**
 * Makes the authorities of the machine (`SSL_CERT_FILE`, `SSL_CERT_DIR`, /etc/ssl/certs) and those
 * of Node the default of all connections in this process. They share the list: a connection with a
 * list of its own reads some 300 certificates in 30 ms and keeps several MB.
 */
export function trustSystemCertificates(): void {
  if (isSystemTrusted) return;
  isSystemTrusted = true;
  setDefaultCACertificates([...new Set([...getCACertificates('default'), ...getCACertificates('system')])]);
}

/**
 * TLS options of a connection that trusts the authorities of the machine, and these besides.
 *
 * @param authorities certificates in PEM format
 */
export function trustBesides(authorities: readonly string[]): { ca?: string[] } {
  trustSystemCertificates();
  return authorities.length === 0 ? {} : { ca: [...getCACertificates('default'), ...authorities] };
}
