import { X509Certificate } from 'node:crypto';
import { parseCertificates } from '../../../net/pem.ts';
import { TransportError } from '../transport.ts';

/** Where the certificates of one server are kept, across restarts of the agent. */
export interface CertificateMemory {
  /** For messages: a path. */
  readonly place: string;
  /** PEM; `undefined`: there are none yet. */
  read(): Promise<string | undefined>;
  write(pem: string): Promise<void>;
}

/**
 * Compares certificates that anybody in the network could have sent with those that are known from
 * the first time. New ones that a known one has signed are no change: the server renewed its own.
 * @returns what to trust: the known ones, which go on to authenticate the server
 * @throws {TransportError} with the fingerprints of both
 */
export function checkUnchanged(
  known: string,
  fetched: string,
  { url, place }: { readonly url: string; readonly place: string | undefined },
): string {
  const knownOnes = certificatesIn(known);
  const isKnown = (certificate: X509Certificate) =>
    knownOnes.some((one) => one.fingerprint256 === certificate.fingerprint256 || hasIssued(one, certificate));
  const fetchedOnes = certificatesIn(fetched);
  if (fetchedOnes.every(isKnown)) return known;
  throw new TransportError({
    what: "trust the server's certificate from",
    target: url,
    why: `it has changed: its SHA-256 fingerprint was ${fingerprintsOf(knownOnes)} and is now ${fingerprintsOf(fetchedOnes)}`,
    hint: `if the change is legitimate, set nibs_certificate_change=accept for one start${place === undefined ? '' : `, or remove ${place}`}`,
  });
}

function hasIssued(authority: X509Certificate, certificate: X509Certificate): boolean {
  return authority.ca && certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
}

function certificatesIn(pem: string): X509Certificate[] {
  return parseCertificates(pem).map((one) => new X509Certificate(one));
}

function fingerprintsOf(certificates: readonly X509Certificate[]): string {
  return certificates.map(({ fingerprint256 }) => fingerprint256).join(' and ');
}
