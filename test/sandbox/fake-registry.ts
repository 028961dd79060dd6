import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Certificate } from './certificates.ts';
import type { Image } from './image.ts';
import { loopbackAddress } from './loopback-address.ts';

/** A request to a {@link FakeRegistry}. */
export interface RegistryRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

export interface FakeRegistryOptions {
  /** Address to listen on. Default: one in 127.0.0.0/8. */
  readonly address?: string;
  /** Default: plain HTTP. */
  readonly certificate?: Certificate;
  /** May answer a request in its own way, or break it; returns whether it did. */
  readonly instead?: (request: RegistryRequest, response: http.ServerResponse) => boolean;
}

/**
 * Reproduces how a registry answers who pulls (OCI distribution specification 1.1, "Pulling"), and
 * does whatever a real one cannot be made to do.
 */
export interface FakeRegistry extends AsyncDisposable {
  /** `address:port` */
  readonly host: string;
  /** `http://address:port` or `https://address:port` */
  readonly url: string;
  readonly requests: readonly RegistryRequest[];
  /**
   * @param name Repository and tag.
   * @returns the reference to pull it with
   */
  put(name: string, image: Image): string;
  /** Has a manifest or an index under a name and under its digest. */
  putManifest(name: string, mediaType: string, bytes: Buffer): string;
  putBlob(repository: string, bytes: Buffer): void;
}

export async function startFakeRegistry(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
  const files = new Map<string, { mediaType: string; bytes: Buffer }>();
  const requests: RegistryRequest[] = [];
  const onRequest = async (incoming: http.IncomingMessage, response: http.ServerResponse) => {
    const url = new URL(incoming.url ?? '/', 'http://registry');
    const request: RegistryRequest = {
      ...{ method: incoming.method ?? '', path: url.pathname, query: url.searchParams, headers: incoming.headers },
      body: Buffer.concat(await incoming.toArray()).toString(),
    };
    requests.push(request);
    if (options.instead?.(request, response) !== true) answer(response, files.get(request.path));
  };
  const { certificate } = options;
  const server =
    certificate === undefined
      ? http.createServer(onRequest)
      : https.createServer({ cert: certificate.certificate, key: certificate.key }, onRequest);
  server.listen(0, options.address ?? loopbackAddress());
  await once(server, 'listening');
  const { address, port } = server.address() as AddressInfo;
  const host = `${address}:${port}`;

  function putManifest(name: string, mediaType: string, bytes: Buffer): string {
    const [repository, tag] = name.split(':');
    for (const end of [tag, digestOf(bytes)]) files.set(`/v2/${repository}/manifests/${end}`, { mediaType, bytes });
    return `${host}/${name}`;
  }

  function putBlob(repository: string, bytes: Buffer): void {
    files.set(`/v2/${repository}/blobs/${digestOf(bytes)}`, { mediaType: 'application/octet-stream', bytes });
  }

  return {
    host,
    url: `${certificate === undefined ? 'http' : 'https'}://${host}`,
    requests,
    putManifest,
    putBlob,
    put(name, image) {
      for (const blob of [image.configuration, ...image.layers]) putBlob(name.split(':')[0] ?? '', blob);
      return putManifest(name, image.mediaType, image.manifest);
    },
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** Answers with an error as registries have it. */
export function refuse(response: http.ServerResponse, status: number, code: string, message: string): true {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ errors: [{ code, message }] }));
  return true;
}

export function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function answer(response: http.ServerResponse, file: { mediaType: string; bytes: Buffer } | undefined): void {
  if (file === undefined) {
    refuse(response, 404, 'MANIFEST_UNKNOWN', 'manifest unknown to this registry');
    return;
  }
  response.writeHead(200, {
    ...{ 'content-type': file.mediaType, 'content-length': file.bytes.length },
    'docker-content-digest': digestOf(file.bytes),
  });
  response.end(file.bytes);
}
