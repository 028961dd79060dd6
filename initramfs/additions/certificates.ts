import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { OperationError } from '../../errors/operation-error.ts';
import { reasonOf } from '../../errors/reason.ts';
import { parseCertificates } from '../../net/pem.ts';
import type { Tree } from '../tree.ts';

/**
 * Adds certificates of authorities, which agent, engine and installer trust.
 * @param path of a file with certificates in PEM format
 * @throws {OperationError} it has none, or one that cannot be read
 */
export async function addCertificates(tree: Tree, path: string): Promise<void> {
  const target = `site/certificates/${basename(path)}`;
  try {
    if (tree.has(target)) throw new Error('another file has the same name');
    tree.file(target, parseCertificates(await readFile(path, 'utf8')).join(''));
  } catch (cause) {
    const hint = 'give CERTIFICATES= files with certificates in PEM format';
    throw new OperationError({ what: 'use', target: path, why: reasonOf(cause), hint, cause });
  }
}
