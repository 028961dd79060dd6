import { readFile } from 'node:fs/promises';
import { OperationError } from '../../errors/operation-error.ts';
import { reasonOf } from '../../errors/reason.ts';
import type { Tree } from '../tree.ts';

/**
 * The type of a key and the key (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"), after options if there
 * are some.
 */
const keyPattern = /(?:^|\s)((?:ssh|ecdsa|sk)-[\w@.-]+)\s+([A-Za-z0-9+/]+=*)(?:\s|$)/;

/**
 * Adds the keys that may log in by ssh.
 * @param path of a file as OpenSSH's authorized_keys
 * @throws {OperationError} a line in it is no public key, or there is none
 */
export async function addAuthorizedKeys(tree: Tree, path: string): Promise<void> {
  try {
    const text = await readFile(path, 'utf8');
    if (/PRIVATE KEY/.test(text)) throw new Error('it has a private key, which must not be in an image');
    const lines = text.split('\n').map((line) => line.trim());
    const keys = lines.filter((line) => line !== '' && !line.startsWith('#'));
    const wrong = keys.find((line) => !isKey(line));
    if (wrong !== undefined) throw new Error(`line ${lines.indexOf(wrong) + 1} is no public key`);
    if (keys.length === 0) throw new Error('it has no public key');
    tree.file('site/ssh/authorized_keys', `${keys.join('\n')}\n`, 0o600);
  } catch (cause) {
    const hint = 'give AUTHORIZED_KEYS= a file of public keys, as ssh-keygen writes them';
    throw new OperationError({ what: 'use', target: path, why: reasonOf(cause), hint, cause });
  }
}

/** The key begins with the length of its type and its type (RFC 4253, section 6.6). */
function isKey(line: string): boolean {
  const [, type = '', encoded = ''] = keyPattern.exec(line) ?? [];
  const key = Buffer.from(encoded, 'base64');
  return type !== '' && key.length > 4 && key.subarray(4, 4 + key.readUInt32BE(0)).toString() === type;
}
