import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, isIP } from 'node:net';
import { hostname } from 'node:os';
import type { StatusBoard } from './board.ts';
import type { Metrics } from './metrics.ts';

export interface StatusServerOptions {
  /** Where to listen. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly board: StatusBoard;
  readonly metrics: Metrics;
  /** Masks secrets in a text. */
  readonly redact: (text: string) => string;
}

export interface StatusServer extends AsyncDisposable {
  readonly port: number;
}

/**
 * Serves, read-only and without authentication, to those who name this machine in the header Host:
 * - `/healthz`: 200 as long as the agent runs; a server that is away is no reason to restart it;
 * - `/metrics`: the text format of Prometheus;
 * - `/status`: {@link Status} as JSON.
 *
 * @throws the address is not available
 */
export async function startStatusServer({
  host,
  port,
  board,
  metrics,
  redact,
}: StatusServerOptions): Promise<StatusServer> {
  const server = createServer((request, response) => {
    if (!isOwnName(request.headers.host, host)) {
      return answer(response, 421, 'text/plain; charset=utf-8', 'Use the address of this machine, or its host name.\n');
    }
    const path = request.url?.split('?')[0] ?? '';
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return answer(response, 405, 'text/plain; charset=utf-8', 'Only GET is answered here.\n');
    }
    switch (path) {
      case '/healthz':
        return answer(response, 200, 'text/plain; charset=utf-8', 'ok\n');
      case '/status':
        return answer(response, 200, 'application/json', `${JSON.stringify(board.current(), undefined, 2)}\n`);
      case '/metrics':
        return void metrics.text().then(
          (text) => answer(response, 200, metrics.contentType, text),
          (error: unknown) => answer(response, 500, 'text/plain; charset=utf-8', redact(`${String(error)}\n`)),
        );
      default:
        return answer(response, 404, 'text/plain; charset=utf-8', 'There are /healthz, /metrics and /status.\n');
    }
  });
  server.requestTimeout = 10_000;
  server.maxConnections = 32;
  server.listen(port, host);
  await once(server, 'listening');
  // A connection that the kernel does not give, as without memory or file descriptors, is not
  // answered. Without a listener it would end the agent.
  server.on('error', () => {});
  // An open status connection must not block shutdown.
  server.unref();
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/**
 * Whether a request was meant for this machine. A web page whose name its owner lets point to this
 * address (DNS rebinding) would otherwise read the answers in the browser of a visitor. Browsers
 * always send the header.
 *
 * @param listening address or name that the server listens on
 */
function isOwnName(header: string | undefined, listening: string): boolean {
  if (header === undefined) return true;
  const name = header
    .replace(/:\d*$/, '')
    .replace(/^\[|\]$/g, '')
    .toLowerCase();
  return isIP(name) !== 0 || ['localhost', listening.toLowerCase(), hostname().toLowerCase()].includes(name);
}

function answer(response: ServerResponse, code: number, type: string, body: string): void {
  response.writeHead(code, { 'content-type': type, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
  response.end(body);
}
