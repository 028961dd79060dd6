import type Docker from 'dockerode';

/** A request to the engine's API without a body. */
export interface DialRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /**
   * Error texts by HTTP status; `true`: it is a success. docker-modem puts them into its messages.
   */
  readonly statusCodes: Readonly<Record<number, string | true>>;
  /**
   * Whether the response is returned as a stream. Default: it is read, and parsed if it is JSON.
   */
  readonly isStream?: boolean;
}

/**
 * Makes a request below dockerode: for those of its methods that ignore a signal, or whose types
 * have none.
 * @returns the response
 * @throws what dockerode throws; an `AbortError` when the signal is aborted
 */
export async function dial(docker: Docker, request: DialRequest, abortSignal: AbortSignal): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  docker.modem.dial({ ...request, options: {}, abortSignal }, (error, response) => {
    if (error) reject(error);
    else resolve(response);
  });
  return await promise;
}
