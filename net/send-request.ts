import http from 'node:http';
import https from 'node:https';
import type { Clock } from '../clock/clock.ts';
import { startDeadline } from '../clock/deadline.ts';
import type { ConnectionOptions, HttpAgents } from './http-agents.ts';
import { withSingleLength } from './single-length.ts';

/** One request without redirects. */
export interface WireRequest {
  readonly url: URL;
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT';
  readonly headers: http.OutgoingHttpHeaders;
  readonly body: string | undefined;
  /** Takes responses as small devices send them. Default: no */
  readonly lenient?: boolean | undefined;
}

/** Node's limit is 16 KiB, that of curl 300 kB. */
const maxLenientHeadBytes = 256 * 1024;
const doubledLength: ReadonlySet<unknown> = new Set(['HPE_UNEXPECTED_CONTENT_LENGTH', 'HPE_INVALID_CONTENT_LENGTH']);

/**
 * Sends one request and waits for the head of the response. Redirects are not followed.
 *
 * With `lenient` it takes what wget and curl take: header lines that end with LF alone, are folded,
 * or have 256 KiB, and a `Content-Length` that is there twice.
 *
 * @returns the response; its body has not been read yet
 * @throws {DeadlineError} there was no response within `timeoutSeconds`; the reason of the signal;
 *   errors of Node's HTTP client
 */
export async function sendRequest(
  request: WireRequest,
  agents: HttpAgents,
  limits: { readonly clock: Clock; readonly timeoutSeconds: number },
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  signal.throwIfAborted();
  try {
    return await sendOnce(request, {}, agents, limits, signal);
  } catch (error) {
    const isDoubled = error instanceof Error && 'code' in error && doubledLength.has(error.code);
    if (request.lenient !== true || !isDoubled) throw error;
    // On a connection of its own, since the filter reads one response.
    return await sendOnce(request, { wrap: withSingleLength }, agents, limits, signal);
  }
}

async function sendOnce(
  { url, method, headers, body, lenient = false }: WireRequest,
  { wrap }: Pick<ConnectionOptions, 'wrap'>,
  agents: HttpAgents,
  { clock, timeoutSeconds }: { readonly clock: Clock; readonly timeoutSeconds: number },
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  using deadline = startDeadline(clock, { seconds: timeoutSeconds, awaited: 'response' }, signal);
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  const { request: open } = url.protocol === 'https:' ? https : http;
  const options: http.RequestOptions & ConnectionOptions = {
    method,
    headers: wrap === undefined ? headers : { ...headers, connection: 'close' },
    agent: wrap === undefined ? agents.for(url) : agents.newFor(url),
    ...(wrap !== undefined && { wrap }),
    ...(lenient && { insecureHTTPParser: true, maxHeaderSize: maxLenientHeadBytes }),
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
