import type http from 'node:http';
import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import { createHttpClient, type HttpResponse } from '../../net/http-client.ts';
import { proxyRulesOf } from '../../net/proxy.ts';
import { trustBesides } from '../../net/trust.ts';

/**
 * How a download reacts to failures of the network. The defaults are those of the wget calls of the
 * original flatcar-install.
 */
export interface DownloadOptions {
  readonly clock: Clock;
  /**
   * Attempts in a row without a single new byte before giving up; fewer if the server answers with
   * an error.
   */
  readonly tries: number;
  /**
   * Longest wait for the connection and the head of a response, and then between two pieces of the
   * body.
   */
  readonly timeoutSeconds: number;
  /** Pause after the n-th failure in a row (n starts at 1), in seconds. */
  readonly pauseSeconds: (failures: number) => number;
  /** `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case. */
  readonly environment: NodeJS.ProcessEnv;
  /** Certificate authorities (PEM) to trust besides those of Node and of the machine. */
  readonly authorities: readonly string[];
  /** Called with a message for people before each new attempt. */
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

/** Downloads files; keeps connections open between them until it is disposed of. */
export interface DownloadClient extends Disposable {
  readonly options: DownloadOptions;
  /**
   * One attempt: follows redirects, waits at most `timeoutSeconds` for the head of each response.
   *
   * @throws {HttpRequestError} there is no response, or none in time; the reason of the signal
   */
  get(url: URL, headers: http.OutgoingHttpHeaders, signal: AbortSignal): Promise<HttpResponse>;
}

export function createDownloadClient(overrides: Partial<DownloadOptions> = {}): DownloadClient {
  const options = { ...defaultDownloadOptions, ...overrides };
  const client = createHttpClient({
    clock: options.clock,
    timeoutSeconds: options.timeoutSeconds,
    proxy: proxyRulesOf(options.environment),
    tls: () => trustBesides(options.authorities),
  });
  return {
    options,
    get: (url, headers, signal) => client.request({ url, headers, lenient: true }, signal),
    [Symbol.dispose]: () => client[Symbol.dispose](),
  };
}
