import { X509Certificate } from 'node:crypto';
import { TransportError } from './transport.ts';

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;
const MAX_BUNDLE_BYTES = 1024 * 1024;

/**
 * Fetches the certificates that a tink server up to v0.6 offers at `/cert`: its own and its CA's, or its own alone.
 *
 * The URL is usually plain HTTP, so this is trust on first use and not an identity; the protocol has nothing better.
 *
 * @returns the certificates as PEM, one after the other.
 * @throws {TransportError} the URL cannot be fetched within `timeoutSeconds`, answers another status than 200, or has no certificate.
 */
export async function fetchCertificates(url: string, timeoutSeconds: number, signal: AbortSignal): Promise<string> {
  const problem = (why: string, cause?: unknown) =>
    new TransportError(`cannot fetch the server's certificate from ${url}: ${why}`, { cause });
  try {
    const response = await fetch(url, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutSeconds * 1000)]),
    });
    if (!response.ok) {
      await response.body?.cancel();
      throw problem(`HTTP status ${response.status} ${response.statusText} (check the certificate URL)`);
    }
    return parseCertificates(await readBounded(response));
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TransportError) throw error;
    throw problem(reason(error), error);
  }
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of response.body ?? []) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > MAX_BUNDLE_BYTES)
      throw new Error(`more than ${MAX_BUNDLE_BYTES} bytes, so it is not a certificate`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('latin1');
}

function parseCertificates(text: string): string {
  const certificates = text.match(PEM_CERTIFICATE) ?? [];
  if (certificates.length === 0) throw new Error('the answer has no PEM certificate (check the certificate URL)');
  return certificates.map((pem) => new X509Certificate(pem).toString()).join('');
}

/** `fetch failed` says nothing; what it was is in the cause. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return 'no answer in time';
  return error.cause instanceof Error ? error.cause.message || error.cause.name : error.message;
}
