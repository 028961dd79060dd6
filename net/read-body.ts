import type { Readable } from 'node:stream';
import type { Clock } from '../clock/clock.ts';
import { DeadlineError } from '../clock/deadline.ts';

export interface BodyOptions {
  readonly clock: Clock;
  /** Longest time without data. The time that the reader takes for itself does not count. */
  readonly idleTimeoutSeconds: number;
}

/** A body is larger than the caller accepts. */
export class BodyTooLargeError extends Error {
  override readonly name = 'BodyTooLargeError';
}

/**
 * The chunks of a body as they arrive. The body is destroyed when the reader stops before its end.
 *
 * @throws {DeadlineError} the server sends nothing for too long; the reason of the signal; Node's
 *   error when the connection breaks
 */
export async function* readBody(
  body: Readable,
  { clock, idleTimeoutSeconds }: BodyOptions,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  let isWaiting = true;
  using timer = clock.schedule(idleTimeoutSeconds, () => {
    if (isWaiting) body.destroy(new DeadlineError({ awaited: 'data', seconds: idleTimeoutSeconds }));
  });
  const abort = () => void body.destroy(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    for await (const chunk of body) {
      isWaiting = false;
      yield chunk;
      signal.throwIfAborted();
      isWaiting = true;
      timer.restart();
    }
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    body.destroy();
  }
}

/**
 * A whole body of at most `maxBytes`.
 *
 * @throws {BodyTooLargeError} it is larger; as {@link readBody}
 */
export async function readWholeBody(
  body: Readable,
  { maxBytes, ...options }: BodyOptions & { readonly maxBytes: number },
  signal: AbortSignal,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of readBody(body, options, signal)) {
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes) throw new BodyTooLargeError(`larger than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
