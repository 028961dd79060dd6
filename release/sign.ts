import { existsSync } from 'node:fs';
import { mkdtempDisposable, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OperationError } from '../errors/operation-error.ts';
import { runTool } from '../tools/run-tool.ts';

/** Of a detached signature, armoured. */
export function signaturePath(path: string): string {
  return `${path}.asc`;
}

/**
 * Signs a file with gpg.
 * @param key a file with a secret key, or what gpg finds a key by in its own keyring
 */
export async function signFile(path: string, key: string): Promise<void> {
  await rm(signaturePath(path), { force: true });
  const sign = ['--batch', '--armor', '--detach-sign', '--output', signaturePath(path)];
  if (!existsSync(key)) return void (await gpg([...sign, '--local-user', key, path]));
  await using keyring = await importKey(key);
  await gpg(['--homedir', keyring.path, ...sign, path]);
}

/**
 * Verifies the signature of a file.
 * @param key a file with public keys, the only ones to trust. Default: those of gpg's own keyring
 * @returns fingerprint of the primary key
 * @throws {OperationError} the signature is missing, bad, or by another key
 */
export async function verifySignature(path: string, key?: string): Promise<string> {
  const refuse = (why: string) =>
    new OperationError({
      what: 'verify',
      target: path,
      why,
      hint: 'get the file, its .asc and the public key (KEY=FILE) again from where they are published',
    });
  if (!existsSync(signaturePath(path))) throw refuse('it has no signature beside it');
  await using keyring = key === undefined ? undefined : await importKey(key);
  const home = keyring === undefined ? [] : ['--homedir', keyring.path];
  const { exitCode, stdout } = await gpg(
    [...home, '--batch', '--status-fd', '1', '--verify', signaturePath(path), path],
    [0, 1, 2],
  );
  // The last word of the line is the primary key (doc/DETAILS of GnuPG).
  const fingerprint = /^\[GNUPG:\] VALIDSIG .* ([0-9A-F]{40,64})$/m.exec(stdout)?.[1];
  if (exitCode !== 0 || fingerprint === undefined)
    throw refuse('its signature is bad, or by a key that is not trusted');
  return fingerprint;
}

async function importKey(file: string) {
  const keyring = await mkdtempDisposable(join(tmpdir(), 'nibs-keys-'));
  await gpg(['--homedir', keyring.path, '--batch', '--quiet', '--import', file]);
  return {
    path: keyring.path,
    async [Symbol.asyncDispose]() {
      await runTool('gpgconf', ['--homedir', keyring.path, '--kill', 'all']);
      await keyring.remove();
    },
  };
}

async function gpg(args: readonly string[], acceptedExitCodes = [0]) {
  return await runTool('gpg', args, { acceptedExitCodes });
}
