import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { ConfigError } from './config.ts';
import type { Config } from './settings.ts';

/** PEM texts. */
export interface TlsFiles {
  readonly certificateAuthority: string | undefined;
  readonly clientCertificate: { readonly certificate: string; readonly key: string } | undefined;
}

/** Reads the certificates that the configuration names. @throws {ConfigError} one cannot be read, is none, or lacks its key. */
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
  const isCertificate = (pem: string) => new X509Certificate(pem);
  return {
    certificateAuthority: tlsAuthority && (await readPem('tls-ca', tlsAuthority, isCertificate)),
    clientCertificate:
      tlsCertificate === undefined || tlsKey === undefined
        ? undefined
        : {
            certificate: await readPem('tls-cert', tlsCertificate, isCertificate),
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
    const why = error instanceof Error ? error.message : String(error);
    throw new ConfigError(`${setting}: cannot use ${file} (it must be in PEM format): ${why}`, { cause: error });
  }
}
