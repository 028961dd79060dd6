import http from 'node:http';
import https from 'node:https';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';

/** How a download behaves when the network does not. The defaults are those of the wget calls of the original flatcar-install. */
export interface DownloadOptions {
  /** Attempts in a row without a single new byte before giving up. */
  readonly tries: number;
  /** Longest wait for the connection and the answer's head, and then between two pieces of the body. */
  readonly timeoutSeconds: number;
  /** Pause after the n-th failure in a row (n starts at 1), in seconds. */
  readonly pauseSeconds: (failures: number) => number;
  /** `http_proxy`, `https_proxy` and `no_proxy`, in small or capital letters. */
  readonly environment: NodeJS.ProcessEnv;
  /** Certificate authorities (PEM) to trust besides those of Node and of the machine. */
  readonly authorities: readonly string[];
  /** Called before each new attempt with what went wrong, for people to read. */
  readonly onRetry: (notice: string) => void;
}

export const defaultDownloadOptions: DownloadOptions = {
  tries: 10,
  timeoutSeconds: 20,
  pauseSeconds: (failures) => Math.min(failures, 10),
  environment: {},
  authorities: [],
  onRetry: () => {},
};

/** An answer whose body has not been read yet. Who gets it must read it to its end or destroy `body`. */
export interface Answer {
  /** Where the answer came from, after redirects. */
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
  readonly options: DownloadOptions;
  /**
   * One attempt: follows redirects, waits at most `timeoutSeconds` for each answer's head. Every HTTP status is an answer, not an error.
   * @throws {Error} with Node's `code` for network failures, `TimedOut`, or the signal's reason
   */
  get(url: URL, headers: http.OutgoingHttpHeaders, signal: AbortSignal): Promise<Answer>;
}

/** The other side said nothing for as long as we were willing to wait. */
export class TimedOut extends Error {
  override readonly name = 'TimedOut';
}

const maxRedirects = 20;
const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export function createHttpClient(overrides: Partial<DownloadOptions> = {}): HttpClient {
  const options = { ...defaultDownloadOptions, ...overrides };
  const proxyEnv = proxyVariables(options.environment);
  const plainAgent = new http.Agent({ keepAlive: true, proxyEnv });
  // Loading the machine's certificates takes time that a plain-HTTP mirror need not spend.
  let secureAgent: TunnellingAgent | undefined;
  const getSecureAgent = () => {
    secureAgent ??= new TunnellingAgent({ keepAlive: true, proxyEnv, ca: trustedCertificates(options.authorities) });
    return secureAgent;
  };

  return {
    options,
    async get(url, headers, signal) {
      let current = url;
      let secure = true;
      for (let redirects = 0; ; redirects++) {
        secure &&= current.protocol === 'https:';
        const agent = current.protocol === 'https:' ? getSecureAgent() : plainAgent;
        const answer = await send(current, headers, agent, options.timeoutSeconds, signal);
        const location = answer.headers.location;
        if (!redirectStatuses.has(answer.status) || location === undefined) return { ...answer, secure };
        answer.body.destroy();
        if (redirects === maxRedirects) throw new Error(`more than ${maxRedirects} redirects`);
        current = new URL(location, current);
      }
    },
    [Symbol.dispose]() {
      plainAgent.destroy();
      secureAgent?.destroy();
    },
  };
}

/**
 * Node's agent does not end a request that is still waiting for the tunnel of a proxy, whatever happens to the request: a proxy that says nothing
 * would be waited for for ever.
 */
class TunnellingAgent extends https.Agent {
  readonly #unfinished = new Set<Duplex>();

  override createConnection(
    options: https.RequestOptions,
    done?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    let opened: Duplex | null | undefined;
    opened = super.createConnection(options, (error, stream) => {
      if (opened) this.#unfinished.delete(opened);
      done?.(error, stream);
    });
    const stream = opened;
    if (!stream) return stream;
    this.#unfinished.add(stream);
    // The former comes for one that needs no tunnel.
    for (const end of ['secureConnect', 'close']) stream.once(end, () => this.#unfinished.delete(stream));
    return stream;
  }

  /** Ends the connections to proxies that have not become tunnels yet. */
  abandonTunnels(reason: Error): void {
    for (const stream of this.#unfinished) stream.destroy(reason);
  }
}

function send(
  url: URL,
  headers: http.OutgoingHttpHeaders,
  agent: http.Agent,
  timeoutSeconds: number,
  signal: AbortSignal,
): Promise<Omit<Answer, 'secure'>> {
  const { promise, resolve, reject } = Promise.withResolvers<Omit<Answer, 'secure'>>();
  const { request: open } = url.protocol === 'https:' ? https : http;
  // An image is published compressed already: what the server has is what the signature covers.
  const request = open(url, { agent, signal, headers: { 'accept-encoding': 'identity', ...headers } });
  const giveUp = (reason: Error) => {
    request.destroy(reason);
    if (agent instanceof TunnellingAgent) agent.abandonTunnels(reason);
  };
  const timer = setTimeout(() => giveUp(new TimedOut(`no answer within ${timeoutSeconds} s`)), timeoutSeconds * 1000);
  const abort = () => giveUp(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  const settle = () => {
    clearTimeout(timer);
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

/** The certificates Node brings along plus those the machine trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR`, /etc/ssl/certs): mirrors may use a private CA. */
function trustedCertificates(authorities: readonly string[]): string[] {
  return [...new Set([...tls.getCACertificates('default'), ...tls.getCACertificates('system'), ...authorities])];
}

function proxyVariables(environment: NodeJS.ProcessEnv): Record<string, string> {
  const names = ['http_proxy', 'https_proxy', 'no_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'];
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = environment[name];
      if (value === undefined || value === '') return [];
      // Like wget, take "proxy.example:3128" for a URL without its beginning.
      const isUrl = name.toLowerCase() === 'no_proxy' || value.includes('://');
      return [[name, isUrl ? value : `http://${value}`]];
    }),
  );
}
