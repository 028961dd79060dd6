import { createHash } from 'node:crypto';
import { UntrustedError } from './errors.ts';
import type { Hash } from './plan.ts';

/** Compares the hash of a stream that is not kept in memory. */
export interface HashWatcher {
  /** Passes the bytes of `source` through while they are hashed. Can be called once. */
  watch(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array>;
  /**
   * Resolves when the bytes of {@link watch} have been read to their end.
   * @throws {UntrustedError} they have another hash
   */
  verified(): Promise<void>;
}

/** @param origin of the bytes, for messages */
export function watchHash(expected: Hash, origin: string): HashWatcher {
  const hash = createHash(expected.algorithm);
  const refused = (why: string) =>
    new UntrustedError({
      what: 'verify',
      target: origin,
      why,
      hint: 'it is damaged or another image; get it again, or correct the hash',
    });
  const verified = Promise.withResolvers<void>();
  // After a read error the error is reported instead, and verified() may never be awaited.
  verified.promise.catch(() => {});
  return {
    async *watch(source) {
      try {
        for await (const chunk of source) {
          hash.update(chunk);
          yield chunk;
        }
        const digest = hash.digest('hex');
        if (digest === expected.digest) verified.resolve();
        else
          verified.reject(refused(`its hash is ${describeHash({ ...expected, digest })}, not the one that is given`));
      } finally {
        verified.reject(refused('it was not read to its end'));
      }
    },
    verified: () => verified.promise,
  };
}

/** In the notation of Ignition. */
export function describeHash({ algorithm, digest }: Hash): string {
  return `${algorithm}-${digest}`;
}
