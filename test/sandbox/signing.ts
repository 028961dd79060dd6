import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

/**
 * A private GnuPG home: keys as a release engineer has them, and gpg as the second opinion on
 * signatures.
 */
export interface Gpg extends AsyncDisposable {
  /**
   * Makes a primary key that only certifies, without a passphrase.
   * @returns its fingerprint
   */
  createPrimary(name: string, options?: KeyOptions): Promise<string>;
  /**
   * Adds a signing subkey.
   * @returns its fingerprint
   */
  addSubkey(primary: string, options?: KeyOptions): Promise<string>;
  /**
   * Revokes a subkey for the reason gpg numbers so: 0 none, 1 compromised, 2 superseded, 3 no
   * longer used.
   */
  revokeSubkey(primary: string, subkey: string, reason: 0 | 1 | 2 | 3): Promise<void>;
  /** Revokes a primary key, and so all below it. */
  revokePrimary(primary: string): Promise<void>;
  /** Decides at the moment `at` that a subkey ends one second later. */
  expireSubkey(primary: string, subkey: string, at: string): Promise<void>;
  /**
   * Detached signatures by each of `signers` (fingerprints of subkeys, or of a primary that may
   * sign), in one file.
   */
  sign(bytes: Uint8Array, signers: readonly string[], options?: SignOptions): Promise<Buffer>;
  /** The public keys with all subkeys, armoured. */
  exportKeys(...primaries: string[]): Promise<Buffer>;
  /** The armoured certificate that gpg made with the primary key, for the day when it is lost. */
  revocationCertificate(primary: string): Promise<Buffer>;
  /** The private key with its subkeys, armoured, without a passphrase. */
  exportPrivateKey(primary: string): Promise<Buffer>;
  /**
   * The first words of gpg's status lines about a signature: GOODSIG, BADSIG, EXPKEYSIG, REVKEYSIG,
   * ERRSIG. Only `keys` are known to it.
   */
  verify(keys: Uint8Array, signature: Uint8Array, bytes: Uint8Array): Promise<string[]>;
}

export interface KeyOptions {
  /** Default: ed25519. */
  readonly algorithm?: 'ed25519' | 'dsa2048' | `rsa${2048 | 3072}` | `${string}/ecdsa`;
  /** What a primary key may do besides certifying. Default: nothing. */
  readonly usage?: 'cert' | 'cert,sign';
  /** gpg's notation: `1y`, `never`. Default: never. */
  readonly expires?: string;
  /** Pretended moment of creation, as `20240131T120000`. Default: now. */
  readonly at?: string;
}

export interface SignOptions {
  readonly at?: string;
  readonly armor?: boolean;
  readonly digest?: 'SHA1' | 'SHA256' | 'SHA512';
  /** Of a text, whose line ends do not count. Default: false. */
  readonly textMode?: boolean;
}

export async function createGpg(): Promise<Gpg> {
  const home = await mkdtemp(join(tmpdir(), 'nibs-gpg-'));
  const common = [
    '--homedir',
    home,
    '--batch',
    '--quiet',
    '--no-tty',
    '--pinentry-mode',
    'loopback',
    '--passphrase',
    '',
  ];
  // Key checks against the real clock are what the tests are about; --faked-system-time moves it
  // for the making only.
  const at = (moment: string | undefined) => (moment === undefined ? [] : ['--faked-system-time', `${moment}!`]);
  const gpg = (args: readonly string[], input: Uint8Array | string = '') =>
    execa('gpg', [...common, ...args], { input, encoding: 'buffer', stripFinalNewline: false, env: { LC_ALL: 'C' } });
  let serial = 0;

  async function fingerprints(primary: string): Promise<string[]> {
    const { stdout } = await gpg(['--with-colons', '--list-keys', primary]);
    return Buffer.from(stdout)
      .toString()
      .split('\n')
      .filter((line) => line.startsWith('fpr:'))
      .map((line) => line.split(':')[9] ?? '');
  }

  /** Answers gpg's key editor from standard input. */
  async function edit(primary: string, answers: readonly string[]): Promise<void> {
    await execa('gpg', [...common, '--command-fd', '0', '--status-fd', '2', '--no-batch', '--edit-key', primary], {
      input: `${answers.join('\n')}\n`,
    });
  }

  async function indexOf(primary: string, subkey: string): Promise<number> {
    const index = (await fingerprints(primary)).indexOf(subkey);
    if (index < 1) throw new Error(`${primary} has no subkey ${subkey}`);
    return index;
  }

  return {
    async createPrimary(name, options = {}) {
      const user = `${name} <${name}@example.test>`;
      const { algorithm = 'ed25519', usage = 'cert', expires = 'never' } = options;
      await gpg([...at(options.at), '--quick-generate-key', user, algorithm, usage, expires]);
      const [primary] = await fingerprints(user);
      if (primary === undefined) throw new Error(`gpg made no key for ${user}`);
      return primary;
    },
    async addSubkey(primary, { algorithm = 'ed25519', expires = 'never', ...options } = {}) {
      await gpg([...at(options.at), '--quick-add-key', primary, algorithm, 'sign', expires]);
      const subkey = (await fingerprints(primary)).at(-1);
      if (subkey === undefined) throw new Error(`gpg added no subkey to ${primary}`);
      return subkey;
    },
    async revokeSubkey(primary, subkey, reason) {
      await edit(primary, [`key ${await indexOf(primary, subkey)}`, 'revkey', 'y', `${reason}`, '', 'y', 'save']);
    },
    async revokePrimary(primary) {
      await edit(primary, ['revkey', 'y', '0', '', 'y', 'save']);
    },
    async expireSubkey(primary, subkey, moment) {
      await gpg([...at(moment), '--quick-set-expire', primary, 'seconds=1', subkey]);
    },
    async sign(bytes, signers, { armor = false, digest = 'SHA512', textMode = false, ...options } = {}) {
      const users = signers.flatMap((signer) => ['--local-user', `${signer}!`]);
      const form = [...(armor ? ['--armor'] : []), ...(textMode ? ['--textmode'] : [])];
      const { stdout } = await gpg(
        [...at(options.at), ...form, '--digest-algo', digest, ...users, '--detach-sign'],
        bytes,
      );
      return Buffer.from(stdout);
    },
    async exportKeys(...primaries) {
      const { stdout } = await gpg(['--armor', '--export', ...primaries]);
      return Buffer.from(stdout);
    },
    async revocationCertificate(primary) {
      const text = await readFile(join(home, 'openpgp-revocs.d', `${primary}.rev`), 'utf8');
      // gpg writes a colon before it, so that it is not imported by accident.
      return Buffer.from(text.slice(text.indexOf(':-----BEGIN') + 1));
    },
    async exportPrivateKey(primary) {
      const { stdout } = await gpg(['--armor', '--export-secret-keys', primary]);
      return Buffer.from(stdout);
    },
    async verify(keys, signature, bytes) {
      const stem = join(home, `verify-${serial++}`);
      const options = ['--homedir', stem, '--batch', '--no-tty', '--quiet'];
      await mkdir(stem, { mode: 0o700 });
      await execa('gpg', [...options, '--import'], { input: keys });
      await writeFile(`${stem}.sig`, signature);
      const { stdout } = await execa('gpg', [...options, '--status-fd', '1', '--verify', `${stem}.sig`, '-'], {
        input: bytes,
        reject: false,
      });
      await execa('gpgconf', ['--homedir', stem, '--kill', 'all']);
      return [...stdout.matchAll(/^\[GNUPG:\] ((?:GOOD|BAD|EXP|EXPKEY|REVKEY|ERR)SIG) /gm)].map(
        ([, word = '']) => word,
      );
    },
    async [Symbol.asyncDispose]() {
      await execa('gpgconf', ['--homedir', home, '--kill', 'all'], { reject: false });
      await rm(home, { recursive: true, force: true });
    },
  };
}
