import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readPlacedFile } from '../files/read-placed-file.ts';
import type { CertificateMemory } from './transport/grpc/known-certificate.ts';

/** As much as is taken from the server. */
const maxBytes = 1024 * 1024;

/**
 * Keeps the certificates of a server in a file of the state directory.
 * @param authority `host:port` of the server
 */
export function knownCertificates(stateDirectory: string, authority: string): CertificateMemory {
  const directory = join(stateDirectory, 'certificates');
  const place = join(directory, `${encodeURIComponent(authority)}.pem`);
  return {
    place,
    async read() {
      try {
        return (await readPlacedFile(place, maxBytes)).toString('utf8');
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
        throw error;
      }
    },
    async write(pem) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      // Whole or not at all: a torn file would be a changed certificate.
      const unfinished = `${place}.unfinished`;
      {
        // Not through a link, should the directory be one that others can write to.
        await rm(unfinished, { force: true });
        await using file = await open(unfinished, 'wx', 0o600);
        await file.writeFile(pem);
        await file.sync();
      }
      await rename(unfinished, place);
    },
  };
}
