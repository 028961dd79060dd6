import { X509Certificate } from 'node:crypto';
import type { Readable } from 'node:stream';
import { createHttpClient, HttpTimeoutError } from '../../net/http-client.ts';
import type { ProxyRules } from '../../net/proxy.ts';
import { trustSystemCertificates } from '../../net/system-certificates.ts';
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
export async function fetchCertificates(
  url: string,
  { timeoutSeconds, proxy }: { readonly timeoutSeconds: number; readonly proxy: ProxyRules },
  signal: AbortSignal,
): Promise<string> {
  const problem = (why: string, cause?: unknown) =>
    new TransportError(`cannot fetch the server's certificate from ${url}: ${why}`, { cause });
  using client = createHttpClient({ timeoutSeconds, proxy, tls });
  const withinTime = AbortSignal.any([signal, AbortSignal.timeout(timeoutSeconds * 1000)]);
  try {
    const { status, statusText, body } = await client.get(new URL(url), {}, withinTime);
    if (status !== 200) {
      body.destroy();
      throw problem(`HTTP status ${status} ${statusText} (check the certificate URL)`);
    }
    return parseCertificates(await readBounded(body));
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TransportError) throw error;
    throw problem(withinTime.aborted ? 'no answer in time' : reason(error), error);
  }
}

function tls() {
  trustSystemCertificates();
  return {};
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

function parseCertificates(text: string): string {
  const certificates = text.match(PEM_CERTIFICATE) ?? [];
  if (certificates.length === 0) throw new Error('the answer has no PEM certificate (check the certificate URL)');
  return certificates.map((pem) => new X509Certificate(pem).toString()).join('');
}

/** An attempt on several addresses has no message of its own. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof HttpTimeoutError) return 'no answer in time';
  if (error instanceof AggregateError) return error.errors.map(reason).join(', ');
  return error.message || error.name;
}
