import { DeadlineError } from '../clock/deadline.ts';
import { reasonOf } from '../errors/reason.ts';
import { ProxyError } from './proxy.ts';

/**
 * Why a request got no response:
 * - `timeout`: there was no response in time;
 * - `unreachable`: name resolution failed, or no address of the server accepts connections;
 * - `no-tls`: the server speaks something else where TLS was expected, as a rule plain HTTP;
 * - `untrusted`: its certificate is not trusted;
 * - `not-yet-valid`: its certificate is not valid yet by the clock of this machine;
 * - `proxy`: the proxy that is set cannot be used, for example because it speaks SOCKS 4;
 * - `redirect`: it redirects too often, or to something that is not a URL;
 * - `broken`: everything else, for example a reset connection or a proxy that refuses the tunnel.
 */
export type HttpFailureReason =
  | 'timeout'
  | 'unreachable'
  | 'no-tls'
  | 'untrusted'
  | 'not-yet-valid'
  | 'proxy'
  | 'redirect'
  | 'broken';

/** A request got no response. The message is the reason alone, without the URL. */
export class HttpRequestError extends Error {
  override readonly name = 'HttpRequestError';
  /** What was requested, after redirects. */
  readonly url: URL;
  readonly reason: HttpFailureReason;
  /** That of Node or OpenSSL, if there is one. */
  readonly code: string | undefined;

  constructor(url: URL, reason: HttpFailureReason, message: string, cause?: unknown) {
    super(message, { cause });
    this.url = url;
    this.reason = reason;
    this.code = codeOf(cause);
  }
}

/** Describes an error of {@link sendRequest} or of Node's HTTP client. */
export function toHttpRequestError(url: URL, error: unknown): HttpRequestError {
  return new HttpRequestError(url, classify(error), reasonOf(error), error);
}

function classify(error: unknown): HttpFailureReason {
  if (error instanceof DeadlineError) return 'timeout';
  if (error instanceof ProxyError) return 'proxy';
  const code = codeOf(error) ?? '';
  const text = reasonOf(error);
  if (code === 'EPROTO' && /wrong version number|packet length too long/.test(text)) return 'no-tls';
  if (code.includes('CERT') || code.startsWith('UNABLE_TO_') || /certificate/i.test(text)) return 'untrusted';
  return isUnreachable(error) ? 'unreachable' : 'broken';
}

const unreachableCodes: ReadonlySet<string | undefined> = new Set([
  ...['ECONNREFUSED', 'EHOSTDOWN', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT'],
  ...['ENOTFOUND', 'EAI_AGAIN'],
]);

/** An attempt to connect to several addresses fails with an error for each of them. */
function isUnreachable(error: unknown): boolean {
  return error instanceof AggregateError ? error.errors.every(isUnreachable) : unreachableCodes.has(codeOf(error));
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
