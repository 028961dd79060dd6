import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';

/** The key of the person who installs the machine. */
export interface LoginKey {
  /** Of the private key. */
  readonly path: string;
  /** One line, as in `authorized_keys`. */
  readonly public: string;
}

/** Makes a key in a directory. */
export async function makeLoginKey(directory: string): Promise<LoginKey> {
  const path = join(directory, 'login-key');
  await execa('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'demo', '-f', path]);
  return { path, public: (await readFile(`${path}.pub`, 'utf8')).trim() };
}
