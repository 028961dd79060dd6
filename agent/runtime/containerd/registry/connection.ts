import http from 'node:http';
import https from 'node:https';
import tls from 'node:tls';
import type { Clock } from '../../../../clock/clock.ts';
import { reasonOf } from '../../../../errors/reason.ts';
import { explainNotYetValid, isNotYetValid } from '../../../../net/certificate-time.ts';
import { HttpAgents } from '../../../../net/http-agents.ts';
import { proxyRulesOf, targetOf } from '../../../../net/proxy.ts';
import { trustBesides } from '../../../../net/trust.ts';
import type { PullFailure } from '../../pull-error.ts';
import type { RegistryHost } from './hosts.ts';

export interface RegistryErrorOptions extends ErrorOptions {
  /** Default: `temporary`. */
  readonly reason?: PullFailure | undefined;
  /** Default: false. */
  readonly isRefusal?: boolean | undefined;
}

/**
 * A request that a registry, or a server it referred to, did not fulfil. The message says at which
 * URL, in Docker's words where it has some.
 */
export class RegistryError extends Error {
  override readonly name = 'RegistryError';
  readonly reason: PullFailure;
  /**
   * The server works and has refused the request; otherwise it cannot be reached, broke off, or
   * sent something else.
   */
  readonly isRefusal: boolean;

  constructor(message: string, options: RegistryErrorOptions = {}) {
    super(message, options);
    this.reason = options.reason ?? 'temporary';
    this.isRefusal = options.isRefusal ?? false;
  }
}

/** The head of a response. Its receiver must read the body to the end or discard it. */
export interface RegistryResponse {
  /** Where it came from, after redirects. */
  readonly url: URL;
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /**
   * The body as it comes.
   * @throws {RegistryError} when it breaks off or nothing comes for too long; the reason of the
   * signal.
   */
  chunks(): AsyncGenerator<Buffer, void, undefined>;
  /** Instead of reading the body. */
  discard(): void;
}

export interface RegistryRequest {
  readonly headers: http.OutgoingHttpHeaders;
  /** Headers that no other server than the one of the URL may see, after redirects. */
  readonly privateHeaders?: http.OutgoingHttpHeaders;
  /** Default: POST with a form, else GET. */
  readonly method?: 'HEAD';
  /** It is sent to no other place: no redirections are followed. */
  readonly form?: URLSearchParams;
}

const maxRedirections = 10;
const shortBytes = 64 * 1024;
const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * HTTP with one host of a registry's images and the servers that it refers to; keeps connections
 * open until it is disposed of.
 */
export class RegistryConnection implements Disposable {
  readonly #host: RegistryHost;
  readonly #idleTimeoutSeconds: number;
  readonly #clock: Clock;
  /** Proxies of the environment that cannot be used were named when the configuration was read. */
  readonly #agents = new HttpAgents({ proxy: proxyRulesOf(process.env, () => {}), tls: () => this.#tlsOptions() });

  /** @param idleTimeoutSeconds Longest time without data. */
  constructor(host: RegistryHost, idleTimeoutSeconds: number, clock: Clock) {
    this.#clock = clock;
    this.#host = host;
    this.#idleTimeoutSeconds = idleTimeoutSeconds;
  }

  /**
   * Follows redirections; every other HTTP status is a response.
   * @throws {RegistryError}; the reason of the signal.
   */
  async request(url: URL, request: RegistryRequest, signal: AbortSignal): Promise<RegistryResponse> {
    let current = url;
    for (let redirects = 0; redirects <= maxRedirections; redirects++) {
      const privateHeaders = current.origin === url.origin ? request.privateHeaders : {};
      const headers = { ...request.headers, ...privateHeaders };
      const response = await this.#send(current, { ...request, headers }, signal);
      const { location } = response.headers;
      if (request.form !== undefined || !redirectStatuses.has(response.status) || location === undefined)
        return response;
      response.discard();
      if (!URL.canParse(location, current.href)) throw new RegistryError(`${redactUrl(current)} redirects to no URL`);
      current = new URL(location, current);
    }
    throw new RegistryError(`${redactUrl(url)} redirects more than ${maxRedirections} times`);
  }

  [Symbol.dispose](): void {
    this.#agents[Symbol.dispose]();
  }

  async #send(url: URL, { headers, method, form }: RegistryRequest, signal: AbortSignal): Promise<RegistryResponse> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
    const isSecure = url.protocol === 'https:';
    const request = (isSecure ? https : http).request(url, {
      method: method ?? (form === undefined ? 'GET' : 'POST'),
      headers: { 'user-agent': 'nibs', 'accept-encoding': 'identity', ...headers },
      agent: this.#agents.for(url),
      // Node leaves a request alone that waits for the tunnel of a proxy, whatever happens to it:
      // only this ends that wait.
      timeout: this.#idleTimeoutSeconds * 1000,
    });
    const giveUp = (reason: Error) => {
      reject(reason);
      request.destroy(reason);
    };
    using _ = this.#clock.schedule(this.#idleTimeoutSeconds, () => giveUp(this.#timeout(url, 'unreachable')));
    const abort = () => giveUp(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    request.once('response', resolve);
    request.on('error', reject);
    if (form !== undefined) request.setHeader('content-type', 'application/x-www-form-urlencoded');
    request.end(form?.toString());
    try {
      return this.#responseOf(url, method, await promise, signal);
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

  #responseOf(
    url: URL,
    method: 'HEAD' | undefined,
    response: http.IncomingMessage,
    signal: AbortSignal,
  ): RegistryResponse {
    // A response that is not read any more may break.
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
    // The time that the reader takes does not count.
    const watch = () =>
      this.#clock.schedule(this.#idleTimeoutSeconds, () => response.destroy(this.#timeout(url, 'temporary')));
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
      throw new RegistryError(`the connection to ${redactUrl(url)} broke: ${reasonOf(error)}`, {
        cause: error,
      });
    } finally {
      timer[Symbol.dispose]();
      signal.removeEventListener('abort', stop);
      response.destroy();
    }
  }

  #timeout(url: URL, reason: PullFailure): RegistryError {
    return new RegistryError(`${redactUrl(url)} timed out after ${this.#idleTimeoutSeconds} s without data`, {
      reason,
    });
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

/** A URL without secrets: storage services have signatures in their queries. */
export function redactUrl(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

function notYetValid(url: URL, error: Error): RegistryError {
  return new RegistryError(`cannot trust ${redactUrl(url)}: ${error.message}`, {
    cause: error,
    reason: 'certificate-not-yet-valid',
  });
}

/** In the words of the Docker Engine, which Node does not use. */
function unreachable(url: URL, error: NodeJS.ErrnoException): RegistryError {
  const text = reasonOf(error);
  const described = (message: string, reason: PullFailure) => new RegistryError(message, { cause: error, reason });
  if (isNoTls(error))
    return described(`cannot reach ${redactUrl(url)}: server gave HTTP response to HTTPS client`, 'no-tls');
  if (/certificate/i.test(text))
    return described(`cannot trust ${redactUrl(url)}: x509: ${text}`, 'untrusted-certificate');
  return described(`cannot reach ${redactUrl(url)}: ${text}`, isNobodyThere(error) ? 'unreachable' : 'temporary');
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
