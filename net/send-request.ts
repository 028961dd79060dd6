import http from 'node:http';
import https from 'node:https';
import type { Clock } from '../clock/clock.ts';
import { startDeadline } from '../clock/deadline.ts';
import type { ConnectionOptions, HttpAgents } from './http-agents.ts';

/** One request without redirects. */
export interface WireRequest {
  readonly url: URL;
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT';
  readonly headers: http.OutgoingHttpHeaders;
  readonly body: string | undefined;
}

/**
 * Sends one request and waits for the head of the response. Redirects are not followed.
 *
 * @returns the response; its body has not been read yet
 * @throws {DeadlineError} there was no response within `timeoutSeconds`; the reason of the signal;
 *   errors of Node's HTTP client
 */
export async function sendRequest(
  { url, method, headers, body }: WireRequest,
  agents: HttpAgents,
  { clock, timeoutSeconds }: { readonly clock: Clock; readonly timeoutSeconds: number },
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  signal.throwIfAborted();
  using deadline = startDeadline(clock, { seconds: timeoutSeconds, awaited: 'response' }, signal);
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  const { request: open } = url.protocol === 'https:' ? https : http;
  const options: http.RequestOptions & ConnectionOptions = {
    method,
    headers,
    agent: agents.for(url),
    signal: deadline.signal,
    connectSignal: deadline.signal,
  };
  const request = open(url, options);
  request.once('response', resolve);
  request.on('error', reject);
  request.end(body);
  try {
    const response = await promise;
    // The connection may break after the response was discarded.
    response.on('error', () => {});
    return response;
  } catch (error) {
    throw deadline.signal.aborted ? deadline.signal.reason : error;
  }
}
