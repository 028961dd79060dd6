import { describeWrongClock, timesOfGo } from '../../net/certificate-time.ts';
import type { ImageReference } from '../action/image-reference.ts';
import type { TrustAdvice } from './engine-api.ts';

/** Why an image could not be pulled. */
export const pullFailureReasons = [
  /** Nobody answers at the registry's address, or there is no such address. */
  'unreachable',
  /** The registry does not have the image. */
  'missing',
  /** It wants other credentials, or some. */
  'refused',
  /** Its certificate is not trusted. */
  'untrusted',
  /** Its certificate is not valid yet by the machine's clock. */
  'not-yet-valid',
  /** It does not speak TLS. */
  'plain-http',
  /** What the engine says after it has tried plain HTTP with a registry that it lists as insecure: what came before is hidden. */
  'tls-hidden',
  /** It has the image for other machines only. */
  'other-platform',
  /** The image, its name or the engine's configuration cannot be used: trying again is of no use. */
  'unusable',
  /** Anything else, which may pass. */
  'temporary',
] as const;

export type PullFailureReason = (typeof pullFailureReasons)[number];

/** Refusals are tried twice: a registry that is just being filled or restarted may change its mind. */
const attemptsAfterRefusal = 2;
/** With a copy at hand nobody waits a minute for a registry that is not well. */
const attemptsWithCopy = 3;

/** How often a pull is tried in all that failed for a reason. @param attempts for what may pass @param hasCopy An image of that name is present. */
export function attemptsFor(reason: PullFailureReason, attempts: number, hasCopy: boolean): number {
  switch (reason) {
    case 'unusable':
    case 'other-platform':
      return 1;
    case 'missing':
    case 'refused':
    case 'tls-hidden':
      return Math.min(attempts, hasCopy ? 1 : attemptsAfterRefusal);
    case 'unreachable':
      return hasCopy ? 1 : attempts;
    default:
      return hasCopy ? Math.min(attempts, attemptsWithCopy) : attempts;
  }
}

/** One sentence for people: what could not be pulled, why, and what to do. */
export function explainPullFailure(
  reason: PullFailureReason,
  message: string,
  { canonical, host }: ImageReference,
  hadCredentials: boolean,
  trust: TrustAdvice,
): string {
  const advice =
    reason === 'not-yet-valid' ? clockAdvice(message, host) : adviceFor(reason, host, hadCredentials, trust);
  return `cannot pull ${canonical}: ${message}${advice === undefined ? '' : ` (${advice})`}`;
}

/** An engine in Go says both times; ours says all that there is to say. */
function clockAdvice(message: string, host: string): string | undefined {
  const times = timesOfGo(message);
  return times && describeWrongClock(host, times.validFrom, times.now);
}

function adviceFor(
  reason: PullFailureReason,
  host: string,
  hadCredentials: boolean,
  trust: TrustAdvice,
): string | undefined {
  const credentials = hadCredentials ? `${host} refuses the credentials` : `there are no credentials for ${host}`;
  switch (reason) {
    case 'refused':
      return `${credentials}: check user name and password of the registry`;
    case 'tls-hidden':
      return hadCredentials ? 'HTTPS failed before for a reason that the engine hides' : credentials;
    case 'other-platform':
      return 'the registry has the image for other architectures only';
    case 'missing':
      return 'push the image, or correct its name in the template';
    case 'untrusted':
      return trust.certificate(host);
    case 'plain-http':
      return trust.plainHttp(host);
    default:
      return undefined;
  }
}
