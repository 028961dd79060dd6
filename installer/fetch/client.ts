import http from 'node:http';
import https from 'node:https';
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
  /** Called before each new attempt with what went wrong, for people to read. */
  readonly onRetry: (notice: string) => void;
}

export const defaultDownloadOptions: DownloadOptions = {
  tries: 10,
  timeoutSeconds: 20,
  pauseSeconds: (failures) => Math.min(failures, 10),
  environment: {},
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
  let secureAgent: https.Agent | undefined;
  const getSecureAgent = () => {
    secureAgent ??= new https.Agent({ keepAlive: true, proxyEnv, ca: trustedCertificates() });
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
  const timer = setTimeout(
    () => request.destroy(new TimedOut(`no answer within ${timeoutSeconds} s`)),
    timeoutSeconds * 1000,
  );
  request.once('response', (body) => {
    clearTimeout(timer);
    const { statusCode: status = 0, statusMessage: statusText = '', headers } = body;
    resolve({ url, status, statusText, headers, body });
  });
  request.on('error', (error) => {
    clearTimeout(timer);
    reject(signal.aborted ? signal.reason : error);
  });
  request.end();
  return promise;
}

/** The certificates Node brings along plus those the machine trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR`, /etc/ssl/certs): mirrors may use a private CA. */
function trustedCertificates(): string[] {
  return [...new Set([...tls.getCACertificates('default'), ...tls.getCACertificates('system')])];
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
