import type http from 'node:http';
import type { HttpResponse } from '../../net/http-client.ts';
import { readBody } from '../../net/read-body.ts';
import type { DownloadClient } from './client.ts';
import { FileChangedError, NotFoundError, TransientStatusError, TruncatedError } from './errors.ts';
import { createRetryPolicy, describeFailure, isTransient, isTransientStatus } from './retry.ts';

/** Distinguishes one state of a file on a server from another. */
export interface FileIdentity {
  /** The URL that the values below come from. */
  readonly url: URL;
  readonly sizeBytes: number | undefined;
  /** A strong entity tag. */
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
}

/**
 * The body of `first`, to its very end: a connection that breaks or stalls is replaced by one that
 * requests the rest (RFC 9110 section 14, `Range` with `If-Range`), so that each byte arrives
 * exactly once and in order. The rest may come from another mirror.
 *
 * @param urls mirrors that have the file; `first` is the response of the first of them
 * @throws {FileChangedError} the rest belongs to another state of the file;
 *   {RetriesExhaustedError} too many attempts without a new byte
 */
export async function* resumingBody(
  client: DownloadClient,
  urls: readonly URL[],
  first: HttpResponse,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { clock, timeoutSeconds: idleTimeoutSeconds } = client.options;
  const retries = createRetryPolicy(urls, client.options);
  const identity = identityOf(first, retries.url);
  let positionBytes = 0;
  let response: HttpResponse | undefined = first;
  let skipBytes = 0;
  for (;;) {
    try {
      if (response === undefined)
        ({ response, skipBytes } = await requestRest(client, retries.url, identity, positionBytes, signal));
      for await (const chunk of readBody(response.body, { clock, idleTimeoutSeconds }, signal)) {
        const fresh = chunk.subarray(Math.min(skipBytes, chunk.length));
        skipBytes -= chunk.length - fresh.length;
        if (fresh.length === 0) continue;
        positionBytes += fresh.length;
        retries.reset();
        yield fresh;
      }
      if (identity.sizeBytes === undefined || positionBytes === identity.sizeBytes) return;
      throw new TruncatedError('the connection ended');
    } catch (failure) {
      const wasReading = response !== undefined;
      response = undefined;
      await retries.afterFailure(wasReading ? withPosition(failure, positionBytes, identity) : failure, signal);
    }
  }
}

/** Adds the position in the file to a failure while reading the body. */
export function withPosition(failure: unknown, positionBytes: number, { sizeBytes }: FileIdentity): unknown {
  if (!isTransient(failure)) return failure;
  const message = `${describeFailure(failure)} after ${positionBytes} of ${sizeBytes ?? 'an unknown number of'} bytes`;
  return new TruncatedError(message, { cause: failure });
}

/** Total length of the file that `response` is the beginning of, in bytes, if the server says. */
export function announcedSizeBytes(response: HttpResponse): number | undefined {
  const length = response.headers['content-length'];
  return length !== undefined && /^\d+$/.test(length) ? Number(length) : undefined;
}

export function identityOf(response: HttpResponse, url: URL): FileIdentity {
  const { etag, 'last-modified': lastModified } = response.headers;
  // If-Range compares strongly. A weak tag says "about the same", which is not enough to join two
  // halves.
  const strongTag = etag?.startsWith('W/') ? undefined : etag;
  return { url, sizeBytes: announcedSizeBytes(response), etag: strongTag, lastModified };
}

/**
 * Requests the file from `positionBytes` on. Some servers start a range earlier than requested,
 * some ignore it: the first `skipBytes` of the body have been read already.
 */
async function requestRest(
  client: DownloadClient,
  url: URL,
  identity: FileIdentity,
  positionBytes: number,
  signal: AbortSignal,
): Promise<{ response: HttpResponse; skipBytes: number }> {
  // With another server's tag it would send all of the file again.
  const validator = url === identity.url ? (identity.etag ?? identity.lastModified) : undefined;
  const headers: http.OutgoingHttpHeaders = positionBytes === 0 ? {} : { range: `bytes=${positionBytes}-` };
  if (positionBytes > 0 && validator !== undefined) headers['if-range'] = validator;
  const response = await client.get(url, headers, signal);
  try {
    return { response, skipBytes: positionBytes - startOf(response, url, identity, positionBytes) };
  } catch (error) {
    response.discard();
    throw error;
  }
}

/** Offset in the file at which the body of `response` starts, in bytes. */
function startOf(response: HttpResponse, url: URL, identity: FileIdentity, positionBytes: number): number {
  if (response.status === 200) {
    requireSame(identity, identityOf(response, url));
    return 0;
  }
  if (response.status === 206) {
    const { startBytes, sizeBytes } = requirePart(response);
    requireSame(identity, { ...identityOf(response, url), sizeBytes });
    requireStart(startBytes, positionBytes, startBytes <= positionBytes);
    return startBytes;
  }
  throw partError(response, url);
}

/** @throws {TruncatedError} a part with another start cannot be used */
export function requireStart(startBytes: number, positionBytes: number, isUsable: boolean): void {
  if (isUsable) return;
  throw new TruncatedError(`the server sent the file from byte ${startBytes}, not from byte ${positionBytes}`);
}

/** The error for a response to a request of a range that has neither the file nor a part of it. */
export function partError(response: HttpResponse, url: URL): Error {
  if (response.status === 416) return new FileChangedError('the file is now shorter than what was read of it', url);
  return statusError(response);
}

/** What a response of status 206 has. */
export interface Part {
  readonly startBytes: number;
  /** Offset of the first byte after it. */
  readonly endBytes: number;
  /** Of the whole file, if the server says. */
  readonly sizeBytes: number | undefined;
}

/** By `Content-Range` (RFC 9110, section 14.4); `undefined`: there is none, or no valid one. */
export function partOf(response: HttpResponse): Part | undefined {
  const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers['content-range'] ?? '');
  if (range === null) return undefined;
  const [, first, last, total] = range;
  const part = {
    startBytes: Number(first),
    endBytes: Number(last) + 1,
    sizeBytes: total === '*' ? undefined : Number(total),
  };
  return part.startBytes < part.endBytes && part.endBytes <= (part.sizeBytes ?? Infinity) ? part : undefined;
}

/** @throws {TruncatedError} the response does not say which part of the file it is */
export function requirePart(response: HttpResponse): Part {
  const part = partOf(response);
  if (part === undefined) throw new TruncatedError('the server sent a part of the file without its range');
  return part;
}

/**
 * Servers behind one name may tag the same file differently, so one matching validator is enough;
 * if it is wrong, the signature shows it in the end. Without any validator only the length can be
 * compared. Mirrors tag and date their copies each in its own way, so between two of them the
 * length decides.
 */
export function requireSame(before: FileIdentity, after: FileIdentity): void {
  const equal = (a: unknown, b: unknown) => (a === undefined || b === undefined ? undefined : a === b);
  const matches = [equal(before.etag, after.etag), equal(before.lastModified, after.lastModified)];
  const sameSize = equal(before.sizeBytes, after.sizeBytes);
  const sameState =
    before.url === after.url
      ? matches.includes(true) || !matches.includes(false)
      : (sameSize ?? matches.includes(true));
  if (sameSize !== false && sameState) return;
  const what = before.url === after.url ? 'the file changed during the download' : 'this mirror has another file';
  throw new FileChangedError(what, after.url);
}

/** The error for a status other than that of the file. */
export function statusError(response: HttpResponse): Error {
  const text = `HTTP status ${response.status} ${response.statusText}`.trimEnd();
  return isTransientStatus(response.status) ? new TransientStatusError(text) : new NotFoundError(text);
}
