import type { Readable } from 'node:stream';
import type { Clock } from '../../../clock/clock.ts';
import { startDeadline } from '../../../clock/deadline.ts';
import { reasonOf } from '../../../errors/reason.ts';
import { createHttpClient, HttpTimeoutError } from '../../../net/http-client.ts';
import { parseCertificates } from '../../../net/pem.ts';
import type { ProxyRules } from '../../../net/proxy.ts';
import { trustBesides } from '../../../net/trust.ts';
import { TransportError } from '../transport.ts';

const MAX_BUNDLE_BYTES = 1024 * 1024;

/**
 * Fetches the certificates that a tink server up to v0.6 offers at `/cert`: its own and its CA's, or its own alone.
 *
 * The URL is usually plain HTTP, so this is trust on first use and not an identity; the protocol has nothing better.
 *
 * @returns the certificates as PEM, one after the other.
 * @throws {TransportError} the URL cannot be fetched within `timeoutSeconds`, answers another status than 200, or has no certificate.
 */
export async function fetchCertificates(
  url: string,
  options: { readonly clock: Clock; readonly timeoutSeconds: number; readonly proxy: ProxyRules },
  signal: AbortSignal,
): Promise<string> {
  const problem = (why: string, cause?: unknown) =>
    new TransportError(`cannot fetch the server's certificate from ${url}: ${why}`, { cause });
  using client = createHttpClient({ ...options, tls: () => trustBesides([]) });
  const limit = { seconds: options.timeoutSeconds, awaited: 'answer' };
  using deadline = startDeadline(options.clock, limit, signal);
  try {
    const { status, statusText, body } = await client.get(new URL(url), {}, deadline.signal);
    if (status !== 200) {
      body.destroy();
      throw problem(`HTTP status ${status} ${statusText} (check the certificate URL)`);
    }
    return parseBundle(await readBounded(body));
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TransportError) throw error;
    const isLate = deadline.isOver || error instanceof HttpTimeoutError;
    throw problem(isLate ? 'no answer in time' : reasonOf(error), error);
  }
}

async function readBounded(body: Readable): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > MAX_BUNDLE_BYTES)
      throw new Error(`more than ${MAX_BUNDLE_BYTES} bytes, so it is not a certificate`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('latin1');
}

function parseBundle(text: string): string {
  try {
    return parseCertificates(text).join('');
  } catch (error) {
    throw new Error(`${reasonOf(error)} (check the certificate URL)`, { cause: error });
  }
}
