import type http from 'node:http';
import type { HttpResponse } from '../../net/http-client.ts';
import { readBody, readWholeBody } from '../../net/read-body.ts';
import type { DownloadClient } from './client.ts';
import { TruncatedError } from './errors.ts';
import {
  bytesWithExplanation,
  discarded,
  fetchImage,
  imageOf,
  imagePurpose,
  type Purpose,
  withExplanation,
} from './fetch.ts';
import type { RangedImage, StreamedImage } from './random-access.ts';
import {
  type FileIdentity,
  identityOf,
  type Part,
  partError,
  partOf,
  requirePart,
  requireSame,
  requireStart,
  statusError,
  withPosition,
} from './resume.ts';
import { createRetryPolicy } from './retry.ts';
import { streamAccess } from './stream-access.ts';

/** Read when the image is opened, and kept: headers are there. */
const headBytes = 1024 * 1024;

/** What may be read and thrown away because a server starts a range too early. */
const maxSkippedBytes = 1024 * 1024;

/** Statuses of servers that have the file and do not serve this range of it, or any. */
const rangeRefusals: ReadonlySet<number> = new Set([400, 416, 501]);

/**
 * Opens an image on servers for reads in any order, by ranges (RFC 9110, section 14). Reads survive
 * connections that break or stall, and servers that fail, as {@link fetchImage} does. With a server
 * that does not send ranges it is a stream.
 *
 * @param urls the image on each mirror, at least one, the preferred first
 * @param notFoundHint what to do if no server has it, as in `SmallFile`
 * @throws {InstallError} `Image URL unavailable`: no server has it, or none responds after all
 *   tries
 */
export async function openRanges(
  client: DownloadClient,
  urls: readonly URL[],
  signal: AbortSignal,
  notFoundHint?: string,
): Promise<RangedImage | StreamedImage> {
  const purpose = imagePurpose(notFoundHint);
  const opened = new AbortController();
  const running = AbortSignal.any([signal, opened.signal]);
  const first = await withExplanation(client, urls, purpose, running, () => requestHead(client, urls, running));
  if (first === undefined) return streamAccess(await fetchImage(client, urls, signal, notFoundHint));
  if ('response' in first) return streamAccess(imageOf(client, urls, purpose, first, opened, running));
  return new HttpRanges(client, urls, purpose, first, opened);
}

interface Head {
  readonly identity: FileIdentity;
  readonly sizeBytes: number;
  readonly bytes: Buffer;
}

/**
 * Requests the first bytes.
 * @returns those; the response with the whole file of a server that ignores ranges; undefined if
 *   the response is neither
 */
async function requestHead(
  client: DownloadClient,
  urls: readonly URL[],
  signal: AbortSignal,
): Promise<Head | { readonly response: HttpResponse; readonly url: URL } | undefined> {
  const retries = createRetryPolicy(urls, client.options);
  for (;;) {
    try {
      const { url } = retries;
      const response = await client.get(url, { range: `bytes=0-${headBytes - 1}` }, signal);
      if (response.status === 200) return { response, url };
      const part = response.status === 206 ? partOf(response) : undefined;
      if (part?.startBytes === 0 && part.endBytes <= headBytes && part.sizeBytes !== undefined) {
        const { sizeBytes } = part;
        const bytes = await readPart(client, response, part, signal);
        return { identity: { ...identityOf(response, url), sizeBytes }, sizeBytes, bytes };
      }
      if (response.status !== 206 && !rangeRefusals.has(response.status))
        throw discarded(response, statusError(response));
      response.discard();
      return undefined;
    } catch (failure) {
      await retries.afterFailure(failure, signal);
    }
  }
}

/** The whole body of a part that fits into memory. */
async function readPart(
  { options: { clock, timeoutSeconds } }: DownloadClient,
  response: HttpResponse,
  { startBytes, endBytes }: Part,
  signal: AbortSignal,
): Promise<Buffer> {
  const maxBytes = endBytes - startBytes;
  const bytes = await readWholeBody(response.body, { clock, idleTimeoutSeconds: timeoutSeconds, maxBytes }, signal);
  if (bytes.length < maxBytes) throw new TruncatedError('the connection ended');
  return bytes;
}

class HttpRanges implements RangedImage {
  readonly origin: string;
  readonly sizeBytes: number;
  readonly isSequential = false;
  readonly #client: DownloadClient;
  readonly #urls: readonly URL[];
  readonly #purpose: Purpose;
  readonly #head: Head;
  readonly #opened: AbortController;
  /** The mirror that sent something last. A mirror that has failed is not asked first each time. */
  #preferred: URL;

  constructor(client: DownloadClient, urls: readonly URL[], purpose: Purpose, head: Head, opened: AbortController) {
    this.#purpose = purpose;
    this.origin = head.identity.url.href;
    this.sizeBytes = head.sizeBytes;
    this.#client = client;
    this.#urls = urls;
    this.#head = head;
    this.#opened = opened;
    this.#preferred = head.identity.url;
  }

  async *read(offsetBytes: number, lengthBytes: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const running = AbortSignal.any([signal, this.#opened.signal]);
    running.throwIfAborted();
    const endBytes = Math.min(offsetBytes + lengthBytes, this.sizeBytes);
    const known = this.#head.bytes.subarray(offsetBytes, Math.max(offsetBytes, endBytes));
    if (known.length > 0) yield known;
    const startBytes = offsetBytes + known.length;
    if (startBytes >= endBytes) return;
    const bytes = this.#request(startBytes, endBytes, running);
    yield* bytesWithExplanation(this.#client, this.#urls, this.#purpose, running, bytes);
  }

  async finish(): Promise<void> {}

  [Symbol.dispose](): void {
    this.#opened.abort();
  }

  /** Bytes from `startBytes` to `endBytes`, each exactly once and in order. */
  async *#request(startBytes: number, endBytes: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const { clock, timeoutSeconds: idleTimeoutSeconds } = this.#client.options;
    const { identity } = this.#head;
    const others = this.#urls.filter((url) => url !== this.#preferred);
    const retries = createRetryPolicy([this.#preferred, ...others], this.#client.options);
    let positionBytes = startBytes;
    while (positionBytes < endBytes) {
      let isReading = false;
      try {
        const { url } = retries;
        const { response, part } = await requestPart(this.#client, url, identity, { positionBytes, endBytes }, signal);
        isReading = true;
        let chunkStart = part.startBytes;
        for await (const chunk of readBody(response.body, { clock, idleTimeoutSeconds }, signal)) {
          const chunkEnd = chunkStart + chunk.length;
          if (chunkEnd > part.endBytes) throw new TruncatedError('the server sent more than the range that it names');
          const fresh = chunk.subarray(Math.max(0, positionBytes - chunkStart), endBytes - chunkStart);
          chunkStart = chunkEnd;
          if (fresh.length > 0) {
            positionBytes += fresh.length;
            retries.reset();
            this.#preferred = url;
            yield fresh;
          }
          // The rest of a longer part is of no use. The end of another is awaited, so that its
          // connection can be used again.
          if (positionBytes === endBytes && part.endBytes > endBytes) return;
        }
        if (chunkStart < part.endBytes) throw new TruncatedError('the connection ended');
      } catch (failure) {
        await retries.afterFailure(isReading ? withPosition(failure, positionBytes, identity) : failure, signal);
      }
    }
  }
}

/** A part of the file that has the byte at `positionBytes`. It may be shorter than requested. */
async function requestPart(
  client: DownloadClient,
  url: URL,
  identity: FileIdentity,
  { positionBytes, endBytes }: { readonly positionBytes: number; readonly endBytes: number },
  signal: AbortSignal,
): Promise<{ response: HttpResponse; part: Part }> {
  // With another server's tag it would send all of the file.
  const validator = url === identity.url ? (identity.etag ?? identity.lastModified) : undefined;
  const headers: http.OutgoingHttpHeaders = { range: `bytes=${positionBytes}-${endBytes - 1}` };
  if (validator !== undefined) headers['if-range'] = validator;
  const response = await client.get(url, headers, signal);
  try {
    return { response, part: checkedPart(response, url, identity, positionBytes) };
  } catch (error) {
    response.discard();
    throw error;
  }
}

function checkedPart(response: HttpResponse, url: URL, identity: FileIdentity, positionBytes: number): Part {
  if (response.status === 200) {
    requireSame(identity, identityOf(response, url));
    throw new TruncatedError('the server sent the whole file instead of a part of it');
  }
  if (response.status !== 206) throw partError(response, url);
  const part = requirePart(response);
  requireSame(identity, { ...identityOf(response, url), sizeBytes: part.sizeBytes });
  const { startBytes, endBytes } = part;
  const isUsable =
    startBytes <= positionBytes && endBytes > positionBytes && positionBytes - startBytes <= maxSkippedBytes;
  requireStart(startBytes, positionBytes, isUsable);
  const length = response.headers['content-length'];
  if (length !== undefined && Number(length) !== endBytes - startBytes)
    throw new TruncatedError(`the server announced ${length} bytes for bytes ${startBytes} to ${endBytes - 1}`);
  return part;
}
