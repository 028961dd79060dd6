import type { PullFailureReason } from '../pull-failure.ts';

/** In order: the first that matches counts. Words of the Docker Engine 18.09 to 28, of Podman's service where it has others, and of Go's network library. */
const meanings: readonly (readonly [RegExp, PullFailureReason])[] = [
  [/unauthorized|authentication required|no basic auth|denied/i, 'refused'],
  [/HTTP request to an HTTPS server/i, 'tls-hidden'],
  [/no matching manifest|no image found in (?:manifest list|image index) for/i, 'other-platform'],
  [/no such host|server misbehaving|name resolution/i, 'unreachable'],
  [/manifest unknown|not found|does not exist|name unknown/i, 'missing'],
  [/not yet valid: current time \S+ is before/i, 'not-yet-valid'],
  [/x509|certificate/i, 'untrusted'],
  [/HTTP response to HTTPS client/i, 'plain-http'],
  [
    /connection refused|no route to host|(?:network|host) is unreachable|i\/o timeout|TLS handshake timeout|while waiting for connection/i,
    'unreachable',
  ],
  [/no space left/i, 'temporary'],
  [
    /failed to register layer|unsupported (?:manifest )?media ?type|mediatype in manifest|manifest invalid|invalid reference format|archive\/tar: invalid/i,
    'unusable',
  ],
];

/** The Docker API has no codes for it: what the registry meant, by the words of the engine. */
export function dockerPullFailure(message: string, statusCode: number | undefined): PullFailureReason {
  const meaning = meanings.find(([pattern]) => pattern.test(message))?.[1];
  if (meaning !== undefined) return meaning;
  if (statusCode === 404) return 'missing';
  return statusCode === 400 ? 'unusable' : 'temporary';
}
