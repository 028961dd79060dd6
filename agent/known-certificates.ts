import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { CertificateMemory } from './transport/grpc/known-certificate.ts';

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
        return await readFile(place, 'utf8');
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
        await using file = await open(unfinished, 'w', 0o600);
        await file.writeFile(pem);
        await file.sync();
      }
      await rename(unfinished, place);
    },
  };
}
