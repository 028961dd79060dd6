import http from 'node:http';
import https from 'node:https';
import tls from 'node:tls';
import type { Clock } from '../../../../clock/clock.ts';
import { explainNotYetValid, isNotYetValid } from '../../../../net/certificate-time.ts';
import { HttpAgents } from '../../../../net/http-agents.ts';
import { proxyRulesOf, targetOf } from '../../../../net/proxy.ts';
import { trustBesides } from '../../../../net/trust.ts';
import type { PullFailureReason } from '../../pull-failure.ts';
import type { RegistryHost } from './hosts.ts';

/** What a registry, or a server it referred to, did instead of what it was asked for. The message says at which URL, in Docker's words where it has some. */
export class RegistryError extends Error {
  override readonly name = 'RegistryError';
  /** HTTP status; `undefined` if there was no answer or not all of it. */
  readonly statusCode: number | undefined;
  readonly reason: PullFailureReason;

  /** @param options `reason`: default: what the status means, else `temporary` */
  constructor(
    message: string,
    statusCode: number | undefined,
    options?: ErrorOptions & { readonly reason?: PullFailureReason | undefined },
  ) {
    super(message, options);
    this.statusCode = statusCode;
    this.reason = options?.reason ?? meanings[statusCode ?? 0] ?? 'temporary';
  }
}

const meanings: Readonly<Record<number, PullFailureReason>> = { 401: 'refused', 403: 'refused', 404: 'missing' };

/** An answer's head. Who gets it must read the body to its end or discard it. */
export interface Answer {
  /** Where it came from, after redirects. */
  readonly url: URL;
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** The body as it comes. @throws {RegistryError} when it breaks off or nothing comes for too long; the reason of the signal. */
  chunks(): AsyncGenerator<Buffer, void, undefined>;
  /** For who does not want the body. */
  discard(): void;
}

export interface Question {
  readonly headers: http.OutgoingHttpHeaders;
  /** Headers that no other server than the one of the URL may see, after redirects. */
  readonly privateHeaders?: http.OutgoingHttpHeaders;
  /** Default: POST with a form, else GET. */
  readonly method?: 'HEAD';
  /** Is never sent to another place than it was meant for: no redirections are followed. */
  readonly form?: URLSearchParams;
}

const longestRedirection = 10;
const shortBytes = 64 * 1024;
const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** HTTP with one place of a registry's images and the servers that it refers to; keeps connections open until it is disposed of. */
export class RegistryConnection implements Disposable {
  readonly #host: RegistryHost;
  readonly #silenceSeconds: number;
  readonly #clock: Clock;
  /** Proxies of the environment that cannot be used were named when the configuration was read. */
  readonly #agents = new HttpAgents({ proxy: proxyRulesOf(process.env, () => {}), tls: () => this.#tlsOptions() });

  /** @param silenceSeconds Longest time in which nothing comes. */
  constructor(host: RegistryHost, silenceSeconds: number, clock: Clock) {
    this.#clock = clock;
    this.#host = host;
    this.#silenceSeconds = silenceSeconds;
  }

  /** Every HTTP status but a redirection is an answer. @throws {RegistryError}; the reason of the signal. */
  async ask(url: URL, question: Question, signal: AbortSignal): Promise<Answer> {
    let current = url;
    for (let redirects = 0; redirects <= longestRedirection; redirects++) {
      const privateHeaders = current.origin === url.origin ? question.privateHeaders : {};
      const headers = { ...question.headers, ...privateHeaders };
      const answer = await this.#send(current, { ...question, headers }, signal);
      const { location } = answer.headers;
      if (question.form !== undefined || !redirectStatuses.has(answer.status) || location === undefined) return answer;
      answer.discard();
      if (!URL.canParse(location, current.href))
        throw new RegistryError(`${shown(current)} redirects to no URL`, undefined);
      current = new URL(location, current);
    }
    throw new RegistryError(`${shown(url)} redirects more than ${longestRedirection} times`, undefined);
  }

  [Symbol.dispose](): void {
    this.#agents[Symbol.dispose]();
  }

  async #send(url: URL, { headers, method, form }: Question, signal: AbortSignal): Promise<Answer> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
    const isSecure = url.protocol === 'https:';
    const request = (isSecure ? https : http).request(url, {
      method: method ?? (form === undefined ? 'GET' : 'POST'),
      headers: { 'user-agent': 'nibs', 'accept-encoding': 'identity', ...headers },
      agent: this.#agents.for(url),
      // Node leaves a request alone that waits for the tunnel of a proxy, whatever happens to it: only this ends that wait.
      timeout: this.#silenceSeconds * 1000,
    });
    const giveUp = (reason: Error) => {
      reject(reason);
      request.destroy(reason);
    };
    using _ = this.#clock.schedule(this.#silenceSeconds, () => giveUp(this.#silence(url, 'unreachable')));
    const abort = () => giveUp(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    request.once('response', resolve);
    request.on('error', reject);
    if (form !== undefined) request.setHeader('content-type', 'application/x-www-form-urlencoded');
    request.end(form?.toString());
    try {
      return this.#answer(url, method, await promise, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof RegistryError) throw error;
      if (isNotYetValid(error))
        throw notYetValid(url, await explainNotYetValid(error, targetOf(url), this.#clock, signal));
      throw unreachable(url, error as NodeJS.ErrnoException);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  #answer(url: URL, method: 'HEAD' | undefined, response: http.IncomingMessage, signal: AbortSignal): Answer {
    // An answer that nobody reads any more may break.
    response.on('error', () => {});
    const isShort = method === 'HEAD' || Number(response.headers['content-length']) <= shortBytes;
    return {
      url,
      status: response.statusCode ?? 0,
      headers: response.headers,
      chunks: () => this.#chunks(url, response, signal),
      // The connection is worth more than a few bytes.
      discard: () => void (isShort ? response.resume() : response.destroy()),
    };
  }

  async *#chunks(
    url: URL,
    response: http.IncomingMessage,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, undefined> {
    const stop = () => void response.destroy(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    // The time that the reader takes for itself does not count.
    const watch = () =>
      this.#clock.schedule(this.#silenceSeconds, () => response.destroy(this.#silence(url, 'temporary')));
    let timer = watch();
    try {
      for await (const chunk of response) {
        timer[Symbol.dispose]();
        yield chunk;
        timer = watch();
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof RegistryError) throw error;
      throw new RegistryError(`the connection to ${shown(url)} broke: ${reasonOf(error as Error)}`, undefined, {
        cause: error,
      });
    } finally {
      timer[Symbol.dispose]();
      signal.removeEventListener('abort', stop);
      response.destroy();
    }
  }

  #silence(url: URL, reason: PullFailureReason): RegistryError {
    return new RegistryError(`${shown(url)} said nothing for ${this.#silenceSeconds} s`, undefined, { reason });
  }

  #tlsOptions(): https.AgentOptions {
    const { authorities, clientCertificates, verify } = this.#host.tls;
    return {
      rejectUnauthorized: verify,
      secureContext: tls.createSecureContext({
        ...(verify && trustBesides(authorities)),
        cert: clientCertificates.map(({ certificate }) => certificate),
        key: clientCertificates.map(({ key }) => key),
      }),
    };
  }
}

/** A URL without what must not be printed: storage services have signatures in their queries. */
export function shown(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

function notYetValid(url: URL, error: Error): RegistryError {
  return new RegistryError(`cannot trust ${shown(url)}: ${error.message}`, undefined, {
    cause: error,
    reason: 'not-yet-valid',
  });
}

/** Node's own words are not those that the Docker Engine has for the same. */
function unreachable(url: URL, error: NodeJS.ErrnoException): RegistryError {
  const text = reasonOf(error);
  const described = (message: string, reason: PullFailureReason) =>
    new RegistryError(message, undefined, { cause: error, reason });
  if (isNoTls(error))
    return described(`cannot reach ${shown(url)}: server gave HTTP response to HTTPS client`, 'plain-http');
  if (/certificate/i.test(text)) return described(`cannot trust ${shown(url)}: x509: ${text}`, 'untrusted');
  return described(`cannot reach ${shown(url)}: ${text}`, isNobodyThere(error) ? 'unreachable' : 'temporary');
}

const nobodyThere: ReadonlySet<string | undefined> = new Set([
  ...['ECONNREFUSED', 'EHOSTDOWN', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT'],
  ...['ENOTFOUND', 'EAI_AGAIN'],
]);

/** Of several addresses, none. */
function isNobodyThere(error: NodeJS.ErrnoException): boolean {
  return error instanceof AggregateError ? error.errors.every(isNobodyThere) : nobodyThere.has(error.code);
}

function isNoTls(error: NodeJS.ErrnoException): boolean {
  return error.code === 'EPROTO' && /wrong version number|packet length too long/.test(error.message);
}

/** Whether a server that was asked over TLS speaks plain HTTP. */
export function spokePlainHttp({ cause }: RegistryError): boolean {
  return cause instanceof Error && isNoTls(cause);
}

/** Whether a server hung up when it was asked, as some do that do not understand TLS. */
export function hungUp({ cause }: RegistryError): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ECONNRESET';
}

/** Several addresses that fail make one error without a message. */
function reasonOf(error: Error): string {
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join(', ');
  return error.message.trim();
}
