import { reasonOf } from '../../../errors/reason.ts';
import { EngineError, type EngineFailure } from '../engine-error.ts';
import { innermostReason } from '../innermost-reason.ts';

/** What a request does, and to what, for messages. */
export interface Operation {
  readonly what: string;
  readonly target: string;
  /**
   * What HTTP statuses of the response mean for this request. Default for those that are missing:
   * `refused`.
   */
  readonly meanings?: Readonly<Record<number, EngineFailure>>;
  /** What words of the response mean, whatever its status. The first that match count. */
  readonly meaningsOfWords?: readonly (readonly [RegExp, EngineFailure])[];
}

/**
 * Makes a request.
 * @throws {EngineError}; the reason of the signal; what else the request throws, if that is no
 * failure of the engine
 */
export async function request<Result>(operation: Operation, send: () => Promise<Result>): Promise<Result> {
  try {
    return await send();
  } catch (error) {
    throw toEngineError(operation, error);
  }
}

/**
 * The same failure as an {@link EngineError}; of a request that was aborted, the reason of its
 * signal; an error that has another origin stays what it is.
 */
export function toEngineError(operation: Operation, error: unknown): unknown {
  const { what, target, meanings = {}, meaningsOfWords = [] } = operation;
  if (error instanceof EngineError || !(error instanceof Error)) return error;
  // Of Node's HTTP client: the cause is the reason of the signal.
  if (error.name === 'AbortError' && error.cause !== undefined) return error.cause;
  const status = statusOf(error);
  if (status !== undefined) {
    const why = plainReason(error.message);
    const ofWords = meaningsOfWords.find(([words]) => words.test(why))?.[1];
    const meaning = status === 503 ? 'unavailable' : (ofWords ?? meanings[status] ?? 'refused');
    // The status is that of a missing network, too.
    const isOfOther = meaning === 'no-such-container' && !/no such container/i.test(why);
    return new EngineError(isOfOther ? 'refused' : meaning, { what, target, why, cause: error });
  }
  // System errors (ECONNREFUSED, ENOENT, …) and those of the HTTP parser (HPE_…): there is no
  // server, or it is not an engine.
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (!/^(?:E(?!RR_)|HPE_)/.test(code)) return error;
  return new EngineError('unavailable', { what, target, why: reasonOf(error), cause: error });
}

/**
 * HTTP status of a response that dockerode throws as an error. `undefined`: it is another error.
 */
export function statusOf(error: unknown): number | undefined {
  return error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : undefined;
}

/**
 * What dockerode, and the engines for errors of their own parts, put around a reason. Podman
 * prepares a container when it is attached to.
 */
const wrappings = [
  /^\(HTTP code \d+\) [^-]* - /,
  /^Error response from daemon: /,
  /^(?:container create|fill out specgen): /,
  /^preparing container \S+ for attach: /,
  /^crun: /,
];

/** What Podman adds to the reason of its runtime. */
const podmanClass =
  /: OCI (?:runtime error|runtime attempted to invoke a command that was not found|permission denied)$/;

/** The reason inside an error message of dockerode. */
export function plainReason(message: string): string {
  return innermostReason(message, wrappings).replace(podmanClass, '');
}
