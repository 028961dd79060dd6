import { type ServiceError, status } from '@grpc/grpc-js';
import { withoutNodeAdvice } from '../../../errors/node-advice.ts';

/**
 * What gRPC says of a failed call, without what differs from attempt to attempt (the time of the attempt, how long it took, the number of OpenSSL's thread), so that
 * the same failure is the same text, on one line, and without gRPC's own frame around it.
 */
export function plainDetails(details: string): string {
  return (
    withoutNodeAdvice(details)
      .replace(/^No connection established\. Last error: (?:Error: )?/, '')
      .replace(/\.? *Resolution note: *$/, '')
      .replace(/ \(\d{4}-\d\d-\d\dT[\d:.]+Z\)/g, '')
      // ERR_error_string(3): thread, code, library, function, reason, and place in OpenSSL's source.
      .replace(/[0-9A-F]+:error:[0-9A-F]+:([^:]*):[^:]*:([^:]*):[^:]*:\d+:[^\n]*\n?/g, '$1: $2')
      .replace(/^(Deadline exceeded) after .*$/s, '$1')
      .trim()
      // A server in Go that puts errors together gives each its line, and what frames one of them.
      .replace(/\s*\n\s*(?:rpc error: code = \w+ desc = )?/g, ': ')
  );
}

/** What a peer that does not speak as expected turned out to speak; `undefined`: nobody knows. */
export type Spoken = 'TLS' | 'plaintext' | undefined;

/** The peer answers to TLS with something else. */
export function isPlaintext({ code, details }: Pick<ServiceError, 'code' | 'details'>): boolean {
  return code === status.UNAVAILABLE && /wrong version number/.test(details);
}

/** The peer took a connection without TLS and broke it off at once, or answered with something else than HTTP/2: as if it waited for TLS. */
export function mayBeTls({ code, details }: Pick<ServiceError, 'code' | 'details'>): boolean {
  return code === status.UNAVAILABLE && /Failed to connect|Protocol error|ECONNRESET|EPIPE/.test(details);
}

/** What somebody can do about it, in parentheses; or empty. */
export function advice({ code, details }: Pick<ServiceError, 'code' | 'details'>, spoken: Spoken): string {
  if (spoken === 'TLS') return ' (the server speaks TLS: set tinkerbell_tls=true)';
  if (spoken === 'plaintext') return ' (the server does not speak TLS: set tinkerbell_tls=false)';
  if (details.includes('the clock is wrong')) return ''; // It says what to do.
  if (/certificate|altnames|self.signed/i.test(details)) {
    return " (the server's certificate is not the one to trust: check the certificate URL, the server's name and the machine's clock)";
  }
  if (code === status.UNAVAILABLE) return ' (is the server running, and reachable from this machine?)';
  if (code === status.DEADLINE_EXCEEDED) return ' (the server or the network is too slow or gone)';
  return '';
}
