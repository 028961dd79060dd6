import type { Clock } from '../../../clock/clock.ts';
import { DeadlineError, startDeadline } from '../../../clock/deadline.ts';
import { reasonOf } from '../../../errors/reason.ts';
import { createHttpClient } from '../../../net/http-client.ts';
import { HttpRequestError } from '../../../net/http-error.ts';
import { parseCertificates } from '../../../net/pem.ts';
import type { ProxyRules } from '../../../net/proxy.ts';
import { BodyTooLargeError, readWholeBody } from '../../../net/read-body.ts';
import { trustBesides } from '../../../net/trust.ts';
import { TransportError } from '../transport.ts';

const maxBundleBytes = 1024 * 1024;

/**
 * Fetches the certificates that a tink server up to v0.6 offers at `/cert`: its own and its CA's,
 * or its own alone.
 *
 * The URL is usually plain HTTP, so this is trust on first use and not an identity; the protocol
 * has nothing better.
 *
 * @returns the certificates as PEM, one after the other, and whether they came over TLS alone.
 * @throws {TransportError} the URL cannot be fetched within `timeoutSeconds`, answers another
 *   status than 200, or has no certificate.
 */
export async function fetchCertificates(
  url: string,
  options: { readonly clock: Clock; readonly timeoutSeconds: number; readonly proxy: ProxyRules },
  signal: AbortSignal,
): Promise<{ readonly pem: string; readonly isAuthentic: boolean }> {
  const problem = (why: string, cause?: unknown) =>
    new TransportError({ what: "fetch the server's certificate from", target: url, why, cause });
  const { clock, timeoutSeconds } = options;
  using client = createHttpClient({ ...options, tls: () => trustBesides([]) });
  using deadline = startDeadline(clock, { seconds: timeoutSeconds, awaited: 'response' }, signal);
  try {
    const response = await client.request({ url: new URL(url) }, deadline.signal);
    const { status, statusText, body, secure: isAuthentic } = response;
    if (status !== 200) {
      response.discard();
      throw problem(`HTTP status ${status} ${statusText} (check the certificate URL)`);
    }
    const limits = { clock, idleTimeoutSeconds: timeoutSeconds, maxBytes: maxBundleBytes };
    return { pem: parseBundle((await readWholeBody(body, limits, deadline.signal)).toString('latin1')), isAuthentic };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TransportError) throw error;
    if (error instanceof BodyTooLargeError) throw problem(`it is ${error.message}, so it is not a certificate`, error);
    throw problem(isTimeout(error) ? 'no response in time' : reasonOf(error), error);
  }
}

function isTimeout(error: unknown): boolean {
  return error instanceof DeadlineError || (error instanceof HttpRequestError && error.reason === 'timeout');
}

function parseBundle(text: string): string {
  try {
    return parseCertificates(text).join('');
  } catch (error) {
    throw new Error(`${reasonOf(error)} (check the certificate URL)`, { cause: error });
  }
}
