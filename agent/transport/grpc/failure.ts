import { status } from '@grpc/grpc-js';
import type { GrpcError } from '../../../net/grpc/grpc-error.ts';

type Failure = Pick<GrpcError, 'code' | 'details'>;

/** What the peer speaks instead of what was expected; `undefined`: unknown. */
export type Spoken = 'TLS' | 'plaintext' | undefined;

/** The peer answers a TLS handshake with something else. */
export function isPlaintext({ code, details }: Failure): boolean {
  return code === status.UNAVAILABLE && /wrong version number/.test(details);
}

/**
 * The peer accepted a connection without TLS and closed it at once, or did not answer with HTTP/2:
 * it may expect TLS.
 */
export function mayBeTls({ code, details }: Failure): boolean {
  return code === status.UNAVAILABLE && /Failed to connect|Protocol error|ECONNRESET|EPIPE/.test(details);
}

/** What the person can do about a failure; `undefined`: the details say it, or it is unknown. */
export function adviceFor({ code, details }: Failure, spoken: Spoken): string | undefined {
  if (spoken === 'TLS') return 'the server speaks TLS: set tinkerbell_tls=true';
  if (spoken === 'plaintext') return 'the server does not speak TLS: set tinkerbell_tls=false';
  if (details.includes('the clock is wrong')) return undefined;
  if (/certificate|altnames|self.signed/i.test(details))
    return "the server's certificate is not trusted: check the certificate URL, the server's name and the machine's clock";
  if (code === status.UNAVAILABLE) return 'is the server running, and reachable from this machine?';
  if (code === status.DEADLINE_EXCEEDED) return 'the server or the network is too slow or down';
  return undefined;
}
