import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';

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
  /** With `cutAfterBytes`: by a reset (RST), which may overtake what was sent. */
  readonly reset?: boolean;
  /** Sends nothing more after this many bytes, but keeps the connection open. */
  readonly stallAfterBytes?: number;
  /** Ends the body after this many bytes as if that were all of it; with `hideLength`. */
  readonly endAfterBytes?: number;
  /** Sends `slowBytes` of the body slowly, after the first `afterBytes`. */
  readonly slow?: { readonly afterBytes: number; readonly slowBytes: number; readonly bytesPerSecond: number };
  /** Changes one bit of this byte of the body. */
  readonly flipByteAt?: number;
  /**
   * Names this `Content-Length` in place of that of the body, and closes the connection at its end.
   */
  readonly announceBytes?: number;
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
   * Called when the fault has been committed, or the whole body is sent: the moment to change
   * files, or to interrupt the client.
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
  /** Every request to the path that has no other fault gets this one. */
  failAlways(path: string, fault: Fault): void;
  /** Forgets all files, faults and requests. */
  clear(): void;
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
  const lasting = new Map<string, Fault>();
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
    answer(request, response, files.get(path), faults.get(path)?.shift() ?? lasting.get(path) ?? {});
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
    failAlways(path, fault) {
      lasting.set(path, fault);
    },
    clear() {
      for (const map of [files, faults, lasting]) map.clear();
      requests.length = 0;
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
  const body = flipped(file.bytes.subarray(from, asked?.end), fault.flipByteAt);
  if (fault.hideLength !== true) headers['content-length'] = fault.announceBytes ?? body.length;
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
      if (fault.reset === true) request.socket.resetAndDestroy();
      else request.socket.destroySoon();
    });
  } else if (fault.stallAfterBytes !== undefined) {
    response.write(body.subarray(0, fault.stallAfterBytes), () => fault.afterwards?.());
  } else if (fault.endAfterBytes !== undefined) {
    response.end(body.subarray(0, fault.endAfterBytes), fault.afterwards);
  } else if (fault.slow !== undefined) {
    void sendSlowly(response, body, fault.slow);
  } else if (fault.announceBytes !== undefined) {
    response.write(body, () => {
      fault.afterwards?.();
      request.socket.destroySoon();
    });
  } else {
    response.end(body, fault.afterwards);
  }
}

/** In a hundred pieces a second at most. */
async function sendSlowly(
  response: http.ServerResponse,
  body: Uint8Array,
  { afterBytes, slowBytes, bytesPerSecond }: Required<Fault>['slow'],
): Promise<void> {
  response.write(body.subarray(0, afterBytes));
  const pieceBytes = Math.ceil(bytesPerSecond / 100);
  const end = Math.min(body.length, afterBytes + slowBytes);
  for (let offset = afterBytes; offset < end && !response.destroyed; offset += pieceBytes) {
    await setTimeout((1000 * pieceBytes) / bytesPerSecond);
    response.write(body.subarray(offset, Math.min(end, offset + pieceBytes)));
  }
  response.end(body.subarray(end));
}

function flipped(body: Uint8Array, at: number | undefined): Uint8Array {
  const byte = at === undefined ? undefined : body[at];
  if (at === undefined || byte === undefined) return body;
  const copy = Buffer.from(body);
  copy[at] = byte ^ 1;
  return copy;
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
