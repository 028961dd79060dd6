import type http from 'node:http';
import { explainNotYetValid, isNotYetValid } from './certificate-time.ts';
import { HttpAgents, type HttpAgentsOptions } from './http-agents.ts';
import { HttpRequestError, toHttpRequestError } from './http-error.ts';
import { targetOf } from './proxy.ts';
import { sendRequest } from './send-request.ts';

export interface HttpClientOptions extends HttpAgentsOptions {
  /** Longest wait for the connection and the head of a response. */
  readonly timeoutSeconds: number;
}

export interface HttpRequest {
  readonly url: URL;
  /** Default: POST with a form, PUT with an upload, else GET. */
  readonly method?: 'HEAD' | undefined;
  readonly headers?: http.OutgoingHttpHeaders | undefined;
  /**
   * Headers for the server of `url` alone. They are not sent to another one that it redirects to.
   */
  readonly privateHeaders?: http.OutgoingHttpHeaders | undefined;
  /** Takes responses as small devices send them ({@link sendRequest}). Default: no */
  readonly lenient?: boolean | undefined;
  /** The body. Redirects are not followed then, because a form may contain a password. */
  readonly form?: URLSearchParams | undefined;
  /** A text that the server is to store at the URL. Redirects are not followed then either. */
  readonly upload?: string | undefined;
}

/**
 * A response whose body has not been read yet. The caller must read `body` to its end or discard
 * it.
 */
export interface HttpResponse {
  /** Where the response came from, after redirects. */
  readonly url: URL;
  /** Whether it and all redirects to it came over TLS. */
  readonly secure: boolean;
  readonly status: number;
  readonly statusText: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: http.IncomingMessage;
  /** Gives up the body, and its connection too unless the body is short. */
  discard(): void;
}

/** Sends requests; keeps connections open between them until it is disposed of. */
export interface HttpClient extends Disposable {
  /**
   * One attempt: follows redirects, waits at most `timeoutSeconds` for the head of each response.
   * Every HTTP status but that of a redirect is a response, not an error.
   *
   * @throws {HttpRequestError} there is no response, or none in time; the reason of the signal
   */
  request(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse>;
}

const maxRedirects = 20;
const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** To read a body of this size costs less than a new connection. */
const shortBodyBytes = 64 * 1024;

/** An HTTP client with the proxies, the trusted certificates and the time limit of `options`. */
export function createHttpClient(options: HttpClientOptions): HttpClient {
  const agents = new HttpAgents(options);
  return {
    async request(request, signal) {
      let url = request.url;
      let secure = true;
      for (let redirects = 0; ; redirects++) {
        secure &&= url.protocol === 'https:';
        const response = toResponse(url, secure, request, await attempt(request, url, agents, options, signal));
        const location = redirectOf(request, response);
        if (location === undefined) return response;
        response.discard();
        if (redirects === maxRedirects)
          throw new HttpRequestError(url, 'redirect', `more than ${maxRedirects} redirects`);
        if (!URL.canParse(location, url.href))
          throw new HttpRequestError(url, 'redirect', 'redirected to something that is not a URL');
        const next = new URL(location, url);
        if (next.protocol !== 'http:' && next.protocol !== 'https:')
          throw new HttpRequestError(
            url,
            'redirect',
            `redirected to a URL of ${next.protocol.slice(0, 20)} instead of HTTP`,
          );
        url = next;
      }
    },
    [Symbol.dispose]: () => agents[Symbol.dispose](),
  };
}

async function attempt(
  request: HttpRequest,
  url: URL,
  agents: HttpAgents,
  options: HttpClientOptions,
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  const { form, upload, lenient, method = defaultMethodOf(request) } = request;
  const headers = {
    'user-agent': 'nibs',
    // Signatures and digests are those of the file as the server has it: no compression.
    'accept-encoding': 'identity',
    ...(form && { 'content-type': 'application/x-www-form-urlencoded' }),
    ...(upload !== undefined && { 'content-type': 'text/plain; charset=utf-8' }),
    ...request.headers,
    ...(url.origin === request.url.origin && request.privateHeaders),
  };
  try {
    return await sendRequest(
      { url, method, headers, body: form?.toString() ?? upload, lenient },
      agents,
      options,
      signal,
    );
  } catch (error) {
    signal.throwIfAborted();
    if (!isNotYetValid(error)) throw toHttpRequestError(url, error);
    const explained = await explainNotYetValid(error, targetOf(url), options.clock, signal);
    throw new HttpRequestError(url, 'not-yet-valid', explained.message, explained);
  }
}

function defaultMethodOf({ form, upload }: HttpRequest): 'GET' | 'POST' | 'PUT' {
  if (form !== undefined) return 'POST';
  return upload === undefined ? 'GET' : 'PUT';
}

function redirectOf({ form, upload }: HttpRequest, { status, headers }: HttpResponse): string | undefined {
  return form === undefined && upload === undefined && redirectStatuses.has(status) ? headers.location : undefined;
}

function toResponse(url: URL, secure: boolean, { method }: HttpRequest, body: http.IncomingMessage): HttpResponse {
  const { statusCode: status = 0, statusMessage: statusText = '', headers } = body;
  const isShort = method === 'HEAD' || Number(headers['content-length']) <= shortBodyBytes;
  const discard = () => void (isShort ? body.resume() : body.destroy());
  return { url, secure, status, statusText, headers, body, discard };
}
