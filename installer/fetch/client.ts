import type http from 'node:http';
import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import { createHttpClient as createClient, type HttpResponse } from '../../net/http-client.ts';
import { proxyRulesOf } from '../../net/proxy.ts';
import { trustBesides } from '../../net/trust.ts';

/** How a download behaves when the network does not. The defaults are those of the wget calls of the original flatcar-install. */
export interface DownloadOptions {
  readonly clock: Clock;
  /** Attempts in a row without a single new byte before giving up. */
  readonly tries: number;
  /** Longest wait for the connection and the answer's head, and then between two pieces of the body. */
  readonly timeoutSeconds: number;
  /** Pause after the n-th failure in a row (n starts at 1), in seconds. */
  readonly pauseSeconds: (failures: number) => number;
  /** `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in capital or small letters. */
  readonly environment: NodeJS.ProcessEnv;
  /** Certificate authorities (PEM) to trust besides those of Node and of the machine. */
  readonly authorities: readonly string[];
  /** Called before each new attempt with what went wrong, and for a proxy that cannot be used; for people to read. */
  readonly onRetry: (notice: string) => void;
}

const defaultDownloadOptions: DownloadOptions = {
  clock: systemClock,
  tries: 10,
  timeoutSeconds: 20,
  pauseSeconds: (failures) => Math.min(failures, 10),
  environment: {},
  authorities: [],
  onRetry: () => {},
};

/** Sends GET requests; keeps connections open between them until it is disposed of. */
export interface HttpClient extends Disposable {
  readonly options: DownloadOptions;
  /**
   * One attempt: follows redirects, waits at most `timeoutSeconds` for each answer's head. Every HTTP status is an answer, not an error.
   * @throws {Error} with Node's `code` for network failures, `HttpTimeoutError`, or the signal's reason
   */
  get(url: URL, headers: http.OutgoingHttpHeaders, signal: AbortSignal): Promise<HttpResponse>;
}

export function createHttpClient(overrides: Partial<DownloadOptions> = {}): HttpClient {
  const options = { ...defaultDownloadOptions, ...overrides };
  const client = createClient({
    clock: options.clock,
    timeoutSeconds: options.timeoutSeconds,
    proxy: proxyRulesOf(options.environment, options.onRetry),
    tls: () => trustBesides(options.authorities),
  });
  return { options, get: client.get, [Symbol.dispose]: () => client[Symbol.dispose]() };
}
