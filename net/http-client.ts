import http from 'node:http';
import https from 'node:https';
import type { Clock } from '../clock/clock.ts';
import { explainNotYetValid, isNotYetValid } from './certificate-time.ts';
import { HttpAgents, type HttpAgentsOptions } from './http-agents.ts';
import { targetOf } from './proxy.ts';

export interface HttpClientOptions extends HttpAgentsOptions {
  readonly clock: Clock;
  /** Longest wait for the connection and the head of the response. */
  readonly timeoutSeconds: number;
}

/** A response whose body has not been read yet. The caller must read it to its end or destroy `body`. */
export interface HttpResponse {
  /** Where the response came from, after redirects. */
  readonly url: URL;
  /** Whether it and all redirects to it came over TLS. */
  readonly secure: boolean;
  readonly status: number;
  readonly statusText: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: http.IncomingMessage;
}

/** Sends GET requests; keeps connections open between them until it is disposed of. */
export interface HttpClient extends Disposable {
  /**
   * One attempt: follows redirects, waits at most `timeoutSeconds` for the head of each response. Every HTTP status is a response, not an error.
   * @throws {Error} with Node's `code` for network failures, {@link HttpTimeoutError}, or the signal's reason; a certificate that is not valid yet is explained
   */
  get(url: URL, headers: http.OutgoingHttpHeaders, signal: AbortSignal): Promise<HttpResponse>;
}

/** There was no response in time. */
export class HttpTimeoutError extends Error {
  override readonly name = 'HttpTimeoutError';
}

const maxRedirects = 20;
const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export function createHttpClient(options: HttpClientOptions): HttpClient {
  const agents = new HttpAgents(options);
  return {
    async get(url, headers, signal) {
      let current = url;
      let secure = true;
      for (let redirects = 0; ; redirects++) {
        secure &&= current.protocol === 'https:';
        const response = await send(current, headers, agents, options, signal).catch(async (error: unknown) => {
          throw isNotYetValid(error)
            ? await explainNotYetValid(error, targetOf(current), options.clock, signal)
            : error;
        });
        const location = response.headers.location;
        if (!redirectStatuses.has(response.status) || location === undefined) return { ...response, secure };
        response.body.destroy();
        if (redirects === maxRedirects) throw new Error(`more than ${maxRedirects} redirects`);
        current = new URL(location, current);
      }
    },
    [Symbol.dispose]: () => agents[Symbol.dispose](),
  };
}

function send(
  url: URL,
  headers: http.OutgoingHttpHeaders,
  agents: HttpAgents,
  { clock, timeoutSeconds }: HttpClientOptions,
  signal: AbortSignal,
): Promise<Omit<HttpResponse, 'secure'>> {
  const { promise, resolve, reject } = Promise.withResolvers<Omit<HttpResponse, 'secure'>>();
  const { request: open } = url.protocol === 'https:' ? https : http;
  // What the server has is what signatures and digests cover, so it must not be compressed on the way.
  const request = open(url, { agent: agents.for(url), signal, headers: { 'accept-encoding': 'identity', ...headers } });
  const giveUp = (reason: Error) => {
    request.destroy(reason);
    agents.abandonTunnels(reason);
  };
  const timer = clock.schedule(timeoutSeconds, () =>
    giveUp(new HttpTimeoutError(`no answer within ${timeoutSeconds} s`)),
  );
  const abort = () => giveUp(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  const settle = () => {
    timer[Symbol.dispose]();
    signal.removeEventListener('abort', abort);
  };
  request.once('response', (body) => {
    settle();
    const { statusCode: status = 0, statusMessage: statusText = '', headers } = body;
    resolve({ url, status, statusText, headers, body });
  });
  request.on('error', (error) => {
    settle();
    reject(signal.aborted ? signal.reason : error);
  });
  request.end();
  return promise;
}
