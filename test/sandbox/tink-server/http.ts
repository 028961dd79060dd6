/** The server's plain HTTP side. */
import { createServer, type Server } from 'node:http';

export interface HttpPages {
  /**
   * PEM, as `/cert` gives it. Called for each request, because certificates change. `undefined`:
   * there is no such page.
   */
  certificate(): { readonly pem: string; readonly changedAt: Date } | undefined;
  /** What `/events/<workflow>` gives as JSON; `undefined`: there is no such workflow. */
  events(workflowId: string): unknown;
}

/**
 * `/cert`, `/healthz` and `/version` as the originals have them, and `/events/<workflow>`, which is
 * an extra of this sandbox.
 */
export function createHttpServer(pages: HttpPages): Server {
  const startedAt = Date.now();
  return createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://server');
    const json = (value: unknown) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    };
    const certificate = pathname === '/cert' ? pages.certificate() : undefined;
    if (certificate !== undefined) {
      const { pem, changedAt } = certificate;
      const whole = Buffer.from(pem);
      const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
      const first = Number(range?.[1] ?? 0);
      const part = whole.subarray(first, range?.[2] ? Number(range[2]) + 1 : whole.length);
      response
        .writeHead(range ? 206 : 200, {
          'content-type': 'application/x-x509-ca-cert',
          'last-modified': changedAt.toUTCString(),
          'accept-ranges': 'bytes',
          'content-length': part.length,
          ...(range && { 'content-range': `bytes ${first}-${first + part.length - 1}/${whole.length}` }),
        })
        .end(request.method === 'HEAD' ? undefined : part);
    } else if (pathname === '/healthz') {
      json({ git_rev: 'sandbox', uptime: `${(Date.now() - startedAt) / 1000}s`, goroutines: 1 });
    } else if (pathname === '/version') {
      response.writeHead(200, { 'content-type': 'text/plain' }).end('sandbox');
    } else {
      const workflowId = /^\/events\/(.+)$/.exec(pathname)?.[1];
      const events = workflowId && pages.events(decodeURIComponent(workflowId));
      if (events) json(events);
      else response.writeHead(404).end('not found\n');
    }
  });
}
