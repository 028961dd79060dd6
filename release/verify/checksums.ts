import { join } from 'node:path';
import { OperationError } from '../../errors/operation-error.ts';
import { fileDigest } from '../../initramfs/checksums.ts';

/** What cannot have a checksum in SHA256SUMS. */
const withoutChecksum: readonly string[] = ['SHA256SUMS', 'SHA256SUMS.asc'];

/**
 * @param sums content of SHA256SUMS
 * @param present names of the files in the directory
 * @returns file → SHA-256 in hexadecimal
 * @throws {OperationError} a file differs, is missing, or is not named
 */
export async function verifyChecksums(
  sums: string,
  directory: string,
  present: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const refuse = (name: string, why: string) => new OperationError({ what: 'verify', target: name, why });
  const found = new Map<string, string>();
  for (const line of sums.split('\n').filter((text) => text !== '')) {
    const [, digest, name] = /^([0-9a-f]{64}) {2}([^/]+)$/.exec(line) ?? [];
    if (digest === undefined || name === undefined) throw refuse('SHA256SUMS', `it has the line ${line}`);
    if (!present.includes(name)) throw refuse(name, 'SHA256SUMS names it, and it is missing');
    if ((await fileDigest(join(directory, name), 'sha256')) !== digest)
      throw refuse(name, 'its checksum is not that in SHA256SUMS');
    found.set(name, digest);
  }
  const unnamed = present.find((name) => !found.has(name) && !withoutChecksum.includes(name));
  if (unnamed !== undefined) throw refuse(unnamed, 'SHA256SUMS does not name it');
  return found;
}
