import type http from 'node:http';
import type https from 'node:https';
import tls from 'node:tls';
import type { Clock } from '../clock/clock.ts';
import { DeadlineError } from '../clock/deadline.ts';
import { reasonOf } from '../errors/reason.ts';
import { createHttpClient, type HttpClient, type HttpResponse } from '../net/http-client.ts';
import { type HttpFailureReason, HttpRequestError } from '../net/http-error.ts';
import { proxyRulesOf } from '../net/proxy.ts';
import { readBody } from '../net/read-body.ts';
import { trustBesides } from '../net/trust.ts';
import type { RegistryHost } from './hosts.ts';
import type { PullFailure } from './pull-failure.ts';

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

/**
 * HTTP with one host of a registry's images and the servers that it refers to; keeps connections
 * open until it is disposed of.
 */
export class RegistryConnection implements Disposable {
  readonly #host: RegistryHost;
  readonly #idleTimeoutSeconds: number;
  readonly #clock: Clock;
  readonly #client: HttpClient;

  /** @param idleTimeoutSeconds Longest time without data. */
  constructor(host: RegistryHost, idleTimeoutSeconds: number, clock: Clock) {
    this.#clock = clock;
    this.#host = host;
    this.#idleTimeoutSeconds = idleTimeoutSeconds;
    this.#client = createHttpClient({
      clock,
      timeoutSeconds: idleTimeoutSeconds,
      // Proxies of the environment that cannot be used were named when the configuration was read.
      proxy: proxyRulesOf(process.env),
      tls: () => this.#tlsOptions(),
    });
  }

  /**
   * Follows redirects; every other HTTP status is a response.
   * @throws {RegistryError} there is no response; the reason of the signal
   */
  async request(url: URL, request: RegistryRequest, signal: AbortSignal): Promise<RegistryResponse> {
    try {
      const response = await this.#client.request({ url, ...request }, signal);
      const { status, headers } = response;
      const chunks = () => this.#chunks(response, signal);
      return { url: response.url, status, headers, chunks, discard: () => response.discard() };
    } catch (error) {
      if (error instanceof HttpRequestError) throw this.#describe(error);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]();
  }

  async *#chunks({ url, body }: HttpResponse, signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
    try {
      yield* readBody(body, { clock: this.#clock, idleTimeoutSeconds: this.#idleTimeoutSeconds }, signal);
    } catch (cause) {
      signal.throwIfAborted();
      if (cause instanceof DeadlineError) throw this.#timeout(url, 'temporary', cause);
      throw new RegistryError(`the connection to ${redactUrl(url)} broke: ${reasonOf(cause)}`, { cause });
    }
  }

  #describe(cause: HttpRequestError): RegistryError {
    if (cause.reason === 'timeout') return this.#timeout(cause.url, 'unreachable', cause);
    const { verb, why, reason } = failures[cause.reason];
    const message = `cannot ${verb} ${redactUrl(cause.url)}: ${why(cause.message)}`;
    return new RegistryError(message, { cause, reason });
  }

  #timeout(url: URL, reason: PullFailure, cause: Error): RegistryError {
    const message = `${redactUrl(url)} timed out after ${this.#idleTimeoutSeconds} s without data`;
    return new RegistryError(message, { cause, reason });
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

interface Failure {
  readonly verb: 'reach' | 'trust';
  readonly why: (message: string) => string;
  readonly reason: PullFailure;
}

const asItIs = (message: string) => message;

/** In the words of the Docker Engine, which Node does not use. */
const failures: Readonly<Record<Exclude<HttpFailureReason, 'timeout'>, Failure>> = {
  unreachable: { verb: 'reach', why: asItIs, reason: 'unreachable' },
  'no-tls': { verb: 'reach', why: () => 'server gave HTTP response to HTTPS client', reason: 'no-tls' },
  untrusted: { verb: 'trust', why: (message) => `x509: ${message}`, reason: 'untrusted-certificate' },
  'not-yet-valid': { verb: 'trust', why: asItIs, reason: 'certificate-not-yet-valid' },
  proxy: { verb: 'reach', why: asItIs, reason: 'unreachable' },
  redirect: { verb: 'reach', why: asItIs, reason: 'temporary' },
  broken: { verb: 'reach', why: asItIs, reason: 'temporary' },
};

/** Whether a server that was asked over TLS speaks plain HTTP. */
export function spokePlainHttp({ cause }: RegistryError): boolean {
  return cause instanceof HttpRequestError && cause.reason === 'no-tls';
}

/** Whether a server hung up when it was asked, as some do that do not understand TLS. */
export function hungUp({ cause }: RegistryError): boolean {
  return cause instanceof HttpRequestError && cause.code === 'ECONNRESET';
}
