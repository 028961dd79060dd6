import { RegistryError } from './connection.ts';

/**
 * Of a digest as registries name it, `algorithm:hex`.
 * @returns name of the algorithm, as `createHash()` takes it
 * @throws {RegistryError} for other algorithms and malformed digests: nothing else may become part of a URL
 */
export function algorithmOf(digest: string): string {
  const [, algorithm, hex] = /^(sha256|sha384|sha512):([\da-f]{64,128})$/.exec(digest) ?? [];
  if (algorithm === undefined || hex?.length !== Number(algorithm.slice(3)) / 4)
    throw new RegistryError(`unsupported digest: ${JSON.stringify(digest.slice(0, 150))}`);
  return algorithm;
}
