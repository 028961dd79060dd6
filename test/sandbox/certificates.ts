import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

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

/** Makes an authority (ECDSA P-256, 30 days) with openssl. */
export async function createCertificateAuthority(commonName = 'sandbox authority'): Promise<CertificateAuthority> {
  return await inScratch(async (directory) => {
    await openssl(directory, [...newKey('ca.key'), ...subject(commonName)], '-x509', '-days', '30', '-out', 'ca.pem');
    const authority = {
      certificate: await readFile(join(directory, 'ca.pem'), 'utf8'),
      key: await readFile(join(directory, 'ca.key'), 'utf8'),
    };
    return { ...authority, issue: (names, options = {}) => issue(authority, names, options) };
  });
}

async function issue(
  authority: Certificate,
  names: readonly [string, ...string[]],
  options: CertificateOptions,
): Promise<Certificate> {
  return await inScratch(async (directory) => {
    await writeFile(join(directory, 'ca.pem'), authority.certificate);
    await writeFile(join(directory, 'ca.key'), authority.key, { mode: 0o600 });
    await writeFile(join(directory, 'extensions'), extensions(names, options.usage ?? 'server'));
    await openssl(directory, [...newKey('leaf.key'), ...subject(names[0])], '-out', 'leaf.csr');
    await openssl(
      directory,
      ['x509', '-req', '-in', 'leaf.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-extfile', 'extensions'],
      ...[
        '-set_serial',
        `0x${crypto.randomUUID().replaceAll('-', '').slice(0, 30)}`,
        '-days',
        '30',
        '-out',
        'leaf.pem',
      ],
    );
    if (options.validFrom !== undefined || options.validUntil !== undefined) await redate(directory, options);
    return {
      certificate: await readFile(join(directory, 'leaf.pem'), 'utf8'),
      key: await readFile(join(directory, 'leaf.key'), 'utf8'),
    };
  });
}

/** `openssl x509 -req` knows only whole days from now; `openssl ca` takes dates, at the price of a database. */
async function redate(directory: string, options: CertificateOptions): Promise<void> {
  const month = 30 * 24 * 3600 * 1000;
  await writeFile(join(directory, 'index.txt'), '');
  await writeFile(
    join(directory, 'ca.cnf'),
    '[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\nnew_certs_dir=.\ndefault_md=sha256\nrand_serial=yes\npolicy=p\n[p]\ncommonName=supplied\n',
  );
  await openssl(
    directory,
    ['ca', '-batch', '-notext', '-config', 'ca.cnf', '-cert', 'ca.pem', '-keyfile', 'ca.key', '-extfile', 'extensions'],
    ...['-in', 'leaf.csr', '-out', 'leaf.pem', '-startdate', asn1Time(options.validFrom ?? new Date())],
    ...['-enddate', asn1Time(options.validUntil ?? new Date(Date.now() + month))],
  );
}

function newKey(file: string): readonly string[] {
  return ['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', file];
}

function subject(commonName: string): readonly string[] {
  return ['-subj', `/CN=${commonName}`];
}

function extensions(names: readonly string[], usage: 'server' | 'client'): string {
  const alternatives = names.map((name) => `${isIP(name) === 0 ? 'DNS' : 'IP'}:${name}`);
  return [
    'basicConstraints=critical,CA:FALSE',
    `extendedKeyUsage=${usage}Auth`,
    `subjectAltName=${alternatives.join(',')}`,
    '',
  ].join('\n');
}

function asn1Time(date: Date): string {
  return `${date.toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`;
}

async function openssl(directory: string, command: readonly string[], ...options: string[]): Promise<void> {
  await execa('openssl', [...command, ...options], { cwd: directory });
}

async function inScratch<Result>(work: (directory: string) => Promise<Result>): Promise<Result> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-certificates-'));
  try {
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}
