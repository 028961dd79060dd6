import { createPrivateKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { reasonOf } from '../../errors/reason.ts';
import { parseCertificates } from '../../net/pem.ts';
import { ConfigError } from './config.ts';
import type { Config } from './settings.ts';

/** PEM texts. */
export interface TlsFiles {
  readonly certificateAuthority: string | undefined;
  readonly clientCertificate: { readonly certificate: string; readonly key: string } | undefined;
}

/**
 * Reads the certificates that the configuration names.
 *
 * @throws {ConfigError} one cannot be read, is none, or lacks its key.
 */
export async function readTlsFiles(
  config: Pick<Config, 'tlsAuthority' | 'tlsCertificate' | 'tlsKey'>,
): Promise<TlsFiles> {
  const { tlsAuthority, tlsCertificate, tlsKey } = config;
  if ((tlsCertificate === undefined) !== (tlsKey === undefined)) {
    throw new ConfigError(
      tlsKey === undefined
        ? `tls-cert is ${tlsCertificate}, but there is no tls-key: a certificate is of no use without its key`
        : `tls-key is ${tlsKey}, but there is no tls-cert: a key is of no use without its certificate`,
    );
  }
  return {
    certificateAuthority: tlsAuthority && (await readPem('tls-ca', tlsAuthority, parseCertificates)),
    clientCertificate:
      tlsCertificate === undefined || tlsKey === undefined
        ? undefined
        : {
            certificate: await readPem('tls-cert', tlsCertificate, parseCertificates),
            key: await readPem('tls-key', tlsKey, createPrivateKey),
          },
  };
}

async function readPem(setting: string, file: string, parse: (pem: string) => unknown): Promise<string> {
  try {
    const pem = await readFile(file, 'utf8');
    parse(pem);
    return pem;
  } catch (error) {
    throw new ConfigError(`${setting}: cannot use ${file} (it must be in PEM format): ${reasonOf(error)}`, {
      cause: error,
    });
  }
}
