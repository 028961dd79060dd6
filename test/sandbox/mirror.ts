import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/**
 * What the mirror does wrong in one request. Offsets count bytes of the body as sent in that
 * request.
 */
export interface Fault {
  /** Answers with this status and no file. */
  readonly status?: number;
  /** Answers with a redirect to this URL. */
  readonly redirectTo?: string;
  /**
   * Breaks the connection after this many bytes of the body; with `beforeHead` instead of answering
   * at all.
   */
  readonly cutAfterBytes?: number;
  readonly cutBeforeHead?: boolean;
  /** Sends nothing more after this many bytes, but keeps the connection open. */
  readonly stallAfterBytes?: number;
  /** Answers 200 with the whole file although a range was asked for, as simple servers do. */
  readonly ignoreRange?: boolean;
  /**
   * Starts a range this many bytes before (negative) or after (positive) the one asked for, and
   * says so.
   */
  readonly shiftRangeBytes?: number;
  /** Names this range instead of the one that it sends; an empty text names none. */
  readonly contentRange?: string;
  /** Leaves out `Content-Length` (chunked transfer). */
  readonly hideLength?: boolean;
  /**
   * Called when the fault has been committed: the moment to change files, or to interrupt the
   * client.
   */
  readonly afterwards?: () => void;
}

export interface MirrorRequest {
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
}

export interface MirrorFileOptions {
  /** Default: a strong tag of the content. `undefined` sends none. */
  readonly etag?: string | undefined;
  /** Default: a fixed day. `undefined` sends none. */
  readonly lastModified?: string | undefined;
  /** False: always the whole file, as the simplest servers. Default: true. */
  readonly ranges?: boolean;
}

/**
 * A mirror of images: an HTTP server on loopback that behaves like nginx (RFC 9110: ranges,
 * If-Range, entity tags) except for the faults that a test requests. Each request to a path uses up
 * one of its faults, in order.
 */
export interface Mirror extends AsyncDisposable {
  /** Without a slash at its end. */
  readonly url: string;
  readonly requests: readonly MirrorRequest[];
  /** Adds or replaces a file. */
  put(path: string, bytes: Uint8Array, options?: MirrorFileOptions): void;
  remove(path: string): void;
  fail(path: string, ...faults: readonly Fault[]): void;
}

interface StoredFile {
  readonly bytes: Uint8Array;
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
  readonly ranges: boolean;
}

/** @param address of loopback to listen on. Default: 127.0.0.1. */
export async function startMirror(address = '127.0.0.1'): Promise<Mirror> {
  const files = new Map<string, StoredFile>();
  const faults = new Map<string, Fault[]>();
  const requests: MirrorRequest[] = [];
  const sockets = new Set<Socket>();

  const server = http.createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://mirror').pathname;
    const { range } = request.headers;
    const ifRange = request.headers['if-range'];
    requests.push({
      method: request.method ?? '',
      path,
      range,
      ifRange: typeof ifRange === 'string' ? ifRange : undefined,
    });
    answer(request, response, files.get(path), faults.get(path)?.shift() ?? {});
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(0, address);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  return {
    url: `http://${address.includes(':') ? `[${address}]` : address}:${port}`,
    requests,
    put(path, bytes, options = {}) {
      const etag =
        'etag' in options ? options.etag : `"${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}"`;
      const lastModified = 'lastModified' in options ? options.lastModified : 'Tue, 04 Mar 2025 10:00:00 GMT';
      files.set(path, { bytes, etag, lastModified, ranges: options.ranges !== false });
    },
    remove(path) {
      files.delete(path);
    },
    fail(path, ...more) {
      faults.set(path, [...(faults.get(path) ?? []), ...more]);
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function answer(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  file: StoredFile | undefined,
  fault: Fault,
): void {
  if (fault.cutBeforeHead === true) {
    request.socket.destroy();
    return;
  }
  if (fault.redirectTo !== undefined) {
    response.writeHead(302, { location: fault.redirectTo }).end();
    return;
  }
  if (fault.status !== undefined || file === undefined) {
    response.writeHead(fault.status ?? 404).end('no\n');
    return;
  }
  const headers: http.OutgoingHttpHeaders = { 'content-type': 'application/octet-stream' };
  if (file.ranges) headers['accept-ranges'] = 'bytes';
  if (file.etag !== undefined) headers.etag = file.etag;
  if (file.lastModified !== undefined) headers['last-modified'] = file.lastModified;
  const asked = fault.ignoreRange === true ? undefined : askedRange(request, file);
  if (asked !== undefined && asked.start >= file.bytes.length) {
    response.writeHead(416, { 'content-range': `bytes */${file.bytes.length}` }).end();
    return;
  }
  const from = asked === undefined ? 0 : asked.start + (fault.shiftRangeBytes ?? 0);
  const body = file.bytes.subarray(from, asked?.end);
  if (fault.hideLength !== true) headers['content-length'] = body.length;
  if (asked !== undefined && fault.contentRange !== '')
    headers['content-range'] = fault.contentRange ?? `bytes ${from}-${from + body.length - 1}/${file.bytes.length}`;
  response.writeHead(asked === undefined ? 200 : 206, headers);
  if (request.method === 'HEAD') {
    response.end();
    return;
  }
  sendBody(request, response, body, fault);
}

function sendBody(request: http.IncomingMessage, response: http.ServerResponse, body: Uint8Array, fault: Fault): void {
  if (fault.cutAfterBytes !== undefined) {
    // Let the bytes reach the client, then break the connection below HTTP.
    response.write(body.subarray(0, fault.cutAfterBytes), () => {
      fault.afterwards?.();
      request.socket.destroySoon();
    });
  } else if (fault.stallAfterBytes !== undefined) {
    response.write(body.subarray(0, fault.stallAfterBytes), () => fault.afterwards?.());
  } else {
    response.end(body);
  }
}

/** What is asked for, when the range is to be honoured (RFC 9110 §13.1.5 for If-Range). */
function askedRange(request: http.IncomingMessage, file: StoredFile): { start: number; end?: number } | undefined {
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  if (range === null || !file.ranges) return undefined;
  const ifRange = request.headers['if-range'];
  if (ifRange !== undefined && ifRange !== file.etag && ifRange !== file.lastModified) return undefined;
  const [, first, last] = range;
  return last === '' ? { start: Number(first) } : { start: Number(first), end: Number(last) + 1 };
}
