import type { PullFailure } from '../../registry/pull-failure.ts';

/**
 * A refusal is tried twice: a registry that is just being filled or restarted may change its mind.
 */
const attemptsAfterRefusal = 2;
/** Where a copy is at hand, no action waits a minute for a registry that is not well. */
const attemptsWithCopy = 3;

/**
 * How many attempts are made in all at a pull that failed for a reason.
 * @param attempts for what may pass
 * @param hasCopy an image of that name is present
 */
export function attemptsFor(reason: PullFailure, attempts: number, hasCopy: boolean): number {
  switch (reason) {
    case 'unusable-image':
    case 'bad-configuration':
    case 'wrong-platform':
    case 'timed-out':
      return 1;
    case 'not-found':
    case 'unauthorized':
    case 'hidden-tls-failure':
      return Math.min(attempts, hasCopy ? 1 : attemptsAfterRefusal);
    case 'unreachable':
      return hasCopy ? 1 : attempts;
    case 'untrusted-certificate':
    case 'certificate-not-yet-valid':
    case 'no-tls':
    case 'temporary':
      return hasCopy ? Math.min(attempts, attemptsWithCopy) : attempts;
  }
}
