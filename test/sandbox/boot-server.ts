import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { text } from 'node:stream/consumers';
import send from 'send';
import type { Certificate } from './certificates.ts';

export interface BootServerOptions {
  readonly address: string;
  readonly port: number;
  /** Served files: URL path (a directory ends with `/`) → path on this machine. */
  readonly files: Readonly<Record<string, string>>;
  /** Texts made when they are asked for: URL path → text. */
  readonly texts: Readonly<Record<string, () => string | Promise<string>>>;
  /** Takes what is stored by HTTP PUT: URL path, content. Default: PUT is as GET. */
  readonly onPut?: (path: string, content: string) => void;
  /** HTTPS with this certificate. Default: HTTP. */
  readonly tls?: Certificate;
  /** Called for each request once it was answered. */
  readonly onRequest?: (request: { readonly path: string; readonly status: number; readonly client: string }) => void;
}

/**
 * Serves kernel, initramfs, iPXE's script, the registry's authority and the mirror over HTTP, as
 * nginx and boots do in the original provisioner.
 */
export async function startBootServer(options: BootServerOptions): Promise<AsyncDisposable> {
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    response.on('close', () => {
      options.onRequest?.({
        path: request.url ?? '',
        status: response.statusCode,
        client: request.socket.remoteAddress ?? '',
      });
    });
    answer(options, request, response).catch((error: unknown) =>
      response.destroy(error instanceof Error ? error : undefined),
    );
  };
  const { tls } = options;
  const server =
    tls === undefined ? createServer(listener) : createTlsServer({ cert: tls.certificate, key: tls.key }, listener);
  server.listen(options.port, options.address);
  await once(server, 'listening');
  return {
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function answer(options: BootServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  // As nginx: slashes in a row are one. The shim asks for //grubx64.efi and follows no redirect.
  const merged = (request.url ?? '/').replace(/\/{2,}/g, '/');
  const path = decodeURIComponent(new URL(merged, 'http://sandbox').pathname);
  if (request.method === 'PUT' && options.onPut !== undefined) {
    options.onPut(path, await text(request));
    response.writeHead(201).end();
    return;
  }
  const made = options.texts[path];
  if (made !== undefined) {
    response.setHeader('Content-Type', 'text/plain; charset=utf-8');
    response.end(await made());
    return;
  }
  for (const [prefix, target] of Object.entries(options.files)) {
    if (path === prefix) {
      send(request, target, { cacheControl: false }).pipe(response);
      return;
    }
    if (prefix.endsWith('/') && path.startsWith(prefix)) {
      send(request, path.slice(prefix.length), { root: target, index: false, cacheControl: false }).pipe(response);
      return;
    }
  }
  response.writeHead(404).end();
}
