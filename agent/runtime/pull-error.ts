import { OperationError, type Problem } from '../../errors/operation-error.ts';
import { describeWrongClock, timesOfGo } from '../../net/certificate-time.ts';
import type { PullFailure } from '../../registry/pull-failure.ts';

/** An image that could not be pulled. */
export class PullError extends OperationError {
  override readonly name = 'PullError';
  /** Decides whether another attempt is made. */
  readonly reason: PullFailure;

  constructor(reason: PullFailure, problem: Omit<Problem, 'what'>) {
    super({ ...problem, what: 'pull' });
    this.reason = reason;
  }
}

/** What was pulled from where. */
export interface PullAttempt {
  /** Canonical name of the image. */
  readonly image: string;
  /** `host[:port]` of the registry. */
  readonly host: string;
  /** Whether there were credentials for it. */
  readonly hadLogin: boolean;
}

/** What a person can do about a failure, where that depends on the engine. */
export type EngineHints = Partial<Readonly<Record<PullFailure, (host: string) => string>>>;

/**
 * Makes the error of an attempt.
 * @param why the reason in words of the engine or of the registry
 */
export function pullError(
  reason: PullFailure,
  why: string,
  attempt: PullAttempt,
  engineHints: EngineHints,
  cause?: unknown,
): PullError {
  const hint = engineHints[reason]?.(attempt.host) ?? hintFor(reason, why, attempt);
  return new PullError(reason, { target: attempt.image, why, hint, cause });
}

function hintFor(reason: PullFailure, why: string, { host, hadLogin }: PullAttempt): string | undefined {
  const credentials = hadLogin ? `${host} refuses the credentials` : `there are no credentials for ${host}`;
  switch (reason) {
    case 'unauthorized':
      return `${credentials}: check user name and password of the registry`;
    case 'hidden-tls-failure':
      return hadLogin ? 'HTTPS failed before for a reason that the engine hides' : credentials;
    case 'wrong-platform':
      return 'the registry has the image for other architectures only';
    case 'not-found':
      return 'push the image, or correct its name in the template';
    case 'certificate-not-yet-valid':
      return clockHint(why, host);
    default:
      return undefined;
  }
}

/** An engine in Go says both times; our own client explains all of it in the reason. */
function clockHint(why: string, host: string): string | undefined {
  const times = timesOfGo(why);
  return times && describeWrongClock(host, times.validFrom, times.now);
}
