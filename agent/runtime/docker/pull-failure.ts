import type { PullFailure } from '../../../registry/pull-failure.ts';

/**
 * In order: the first that matches counts. Words of the Docker Engine 18.09 to 28, of Podman's
 * service where it has others, and of Go's network library.
 */
const meanings: readonly (readonly [RegExp, PullFailure])[] = [
  [/unauthorized|authentication required|no basic auth|denied/i, 'unauthorized'],
  [/HTTP request to an HTTPS server/i, 'hidden-tls-failure'],
  [/no matching manifest|no image found in (?:manifest list|image index) for/i, 'wrong-platform'],
  [/no such host|server misbehaving|name resolution/i, 'unreachable'],
  [/manifest unknown|not found|does not exist|name unknown/i, 'not-found'],
  [/not yet valid: current time \S+ is before/i, 'certificate-not-yet-valid'],
  [/x509|certificate/i, 'untrusted-certificate'],
  [/HTTP response to HTTPS client/i, 'no-tls'],
  [
    /connection refused|no route to host|(?:network|host) is unreachable|i\/o timeout|TLS handshake timeout|while waiting for connection/i,
    'unreachable',
  ],
  [/no space left/i, 'temporary'],
  [
    /failed to register layer|unsupported (?:manifest )?media ?type|mediatype in manifest|manifest invalid|invalid reference format|archive\/tar: invalid/i,
    'unusable-image',
  ],
];

/**
 * Why a pull failed. The Docker API has no codes for that: the words of the engine decide.
 * @param status HTTP status of the response; `undefined`: the error came in the middle of the
 *   response
 */
export function dockerPullFailure(message: string, status: number | undefined): PullFailure {
  const meaning = meanings.find(([pattern]) => pattern.test(message))?.[1];
  if (meaning !== undefined) return meaning;
  if (status === 404) return 'not-found';
  return status === 400 ? 'unusable-image' : 'temporary';
}
