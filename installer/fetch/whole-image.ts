import type { Image } from './fetch.ts';
import type { RandomAccess } from './random-access.ts';

/**
 * All of an image from its beginning to its end, also after some of its beginning was read. No
 * other part of a stream can be read then.
 */
export function wholeImage(access: RandomAccess, signal: AbortSignal): Image {
  const { origin, sizeBytes } = access;
  const bytes = async function* () {
    yield* access.read(0, Infinity, signal);
    await access.finish(signal);
  };
  return { origin, sizeBytes, bytes: bytes(), [Symbol.dispose]: () => access[Symbol.dispose]() };
}
