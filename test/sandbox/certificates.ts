import 'reflect-metadata'; // first: what @peculiar/x509 is built with needs it
import type { webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';

/** A key with its certificate, both PEM. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

/** What a server certificate may differ in from the usual one. */
export interface CertificateOptions {
  /** Default: now. */
  readonly validFrom?: Date;
  /** Default: 30 days from now. */
  readonly validUntil?: Date;
  /** `client` for the certificate of a client. Default: `server`. */
  readonly usage?: 'server' | 'client';
}

/** A self-made authority, as the one that a provisioner makes for itself at set-up. */
export interface CertificateAuthority extends Certificate {
  /**
   * Makes a key and a certificate for it.
   * @param names DNS names and IP addresses; the first is the common name too.
   */
  issue(names: readonly [string, ...string[]], options?: CertificateOptions): Promise<Certificate>;
}

const signingAlgorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** Makes an authority (ECDSA P-256, 30 days). */
export async function createCertificateAuthority(commonName = 'sandbox authority'): Promise<CertificateAuthority> {
  const keys = await generateKeys();
  const identifier = await SubjectKeyIdentifierExtension.create(keys.publicKey);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    ...{ name: `CN=${commonName}`, keys, signingAlgorithm, notBefore: new Date(), notAfter: inThirtyDays() },
    extensions: [new BasicConstraintsExtension(true, undefined, true), identifier],
  });
  return {
    ...(await toPem(certificate, keys)),
    issue: (names, options = {}) => issue({ certificate, keys }, names, options),
  };
}

async function issue(
  authority: { readonly certificate: X509Certificate; readonly keys: webcrypto.CryptoKeyPair },
  names: readonly [string, ...string[]],
  options: CertificateOptions,
): Promise<Certificate> {
  const { validFrom = new Date(), validUntil = inThirtyDays(), usage = 'server' } = options;
  const keys = await generateKeys();
  const purpose = usage === 'server' ? ExtendedKeyUsage.serverAuth : ExtendedKeyUsage.clientAuth;
  const certificate = await X509CertificateGenerator.create({
    ...{ subject: `CN=${names[0]}`, issuer: authority.certificate.subject, publicKey: keys.publicKey },
    ...{ signingKey: authority.keys.privateKey, signingAlgorithm, notBefore: validFrom, notAfter: validUntil },
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new ExtendedKeyUsageExtension([purpose]),
      new SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const), value })),
      ),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(authority.certificate),
    ],
  });
  return await toPem(certificate, keys);
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await crypto.subtle.generateKey(signingAlgorithm, true, ['sign', 'verify']);
}

async function toPem(certificate: X509Certificate, { privateKey }: webcrypto.CryptoKeyPair): Promise<Certificate> {
  const key = PemConverter.encode(await crypto.subtle.exportKey('pkcs8', privateKey), 'PRIVATE KEY');
  return { certificate: `${certificate.toString('pem')}\n`, key: `${key}\n` };
}

function inThirtyDays(): Date {
  return new Date(Date.now() + 30 * 24 * 3600 * 1000);
}
