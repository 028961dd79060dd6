import type http from 'node:http';
import { type HttpResponse, HttpTimeoutError } from '../../net/http-client.ts';
import type { DownloadOptions, HttpClient } from './client.ts';
import { FileChanged, Interrupted, NotAvailable, PassingStatus } from './errors.ts';
import { createPatience, describeFailure, isPassing, isPassingStatus } from './retry.ts';

/** What tells one state of a file on a server from another. */
interface Identity {
  /** Who said so. */
  readonly url: URL;
  readonly sizeBytes: number | undefined;
  /** A strong entity tag. */
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
}

/**
 * The body of `first`, to its very end: a connection that breaks or stalls is replaced by one that asks for the rest (RFC 9110 §14, `Range` with
 * `If-Range`), so that each byte comes exactly once and in order. The rest may come from another of the places.
 * @param urls places that have the file; `first` is the answer of the first of them
 * @throws {FileChanged} when the rest belongs to another state of the file
 * @throws {TriesExhausted} after too many attempts without a new byte
 */
export async function* resumingBody(
  client: HttpClient,
  urls: readonly URL[],
  first: HttpResponse,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const patience = createPatience(urls, client.options);
  const identity = identityOf(first, patience.url);
  let positionBytes = 0;
  let answer: HttpResponse | undefined = first;
  let skipBytes = 0;
  for (;;) {
    try {
      if (answer === undefined)
        ({ answer, skipBytes } = await askForRest(client, patience.url, identity, positionBytes, signal));
      for await (const chunk of readBody(answer.body, client.options, signal)) {
        const fresh = chunk.subarray(Math.min(skipBytes, chunk.length));
        skipBytes -= chunk.length - fresh.length;
        if (fresh.length === 0) continue;
        positionBytes += fresh.length;
        patience.renew();
        yield fresh;
      }
      if (identity.sizeBytes === undefined || positionBytes === identity.sizeBytes) return;
      throw new Interrupted('the connection ended');
    } catch (failure) {
      const wasReading = answer !== undefined;
      answer = undefined;
      await patience.afterFailure(wasReading ? located(failure, positionBytes, identity) : failure, signal);
    }
  }
}

/** Adds to a failure while reading the body how far that came. */
function located(failure: unknown, positionBytes: number, { sizeBytes }: Identity): unknown {
  if (!isPassing(failure)) return failure;
  const message = `${describeFailure(failure)} after ${positionBytes} of ${sizeBytes ?? 'an unknown number of'} bytes`;
  return new Interrupted(message, { cause: failure });
}

/** Total length of the file that `answer` is the beginning of, in bytes, if the server says. */
export function announcedSizeBytes(answer: HttpResponse): number | undefined {
  const length = answer.headers['content-length'];
  return length !== undefined && /^\d+$/.test(length) ? Number(length) : undefined;
}

function identityOf(answer: HttpResponse, url: URL): Identity {
  const { etag, 'last-modified': lastModified } = answer.headers;
  // If-Range compares strongly; a weak tag says "about the same", which is not enough to glue two halves together.
  const strongTag = etag?.startsWith('W/') ? undefined : etag;
  return { url, sizeBytes: announcedSizeBytes(answer), etag: strongTag, lastModified };
}

/**
 * Asks for the file from `positionBytes` on. Some servers start a range earlier than asked and some ignore it: `skipBytes` of the answer's body
 * have been read already.
 */
async function askForRest(
  client: HttpClient,
  url: URL,
  identity: Identity,
  positionBytes: number,
  signal: AbortSignal,
): Promise<{ answer: HttpResponse; skipBytes: number }> {
  // Another server's tag would have it send all of the file again.
  const validator = url === identity.url ? (identity.etag ?? identity.lastModified) : undefined;
  const headers: http.OutgoingHttpHeaders = positionBytes === 0 ? {} : { range: `bytes=${positionBytes}-` };
  if (positionBytes > 0 && validator !== undefined) headers['if-range'] = validator;
  const answer = await client.get(url, headers, signal);
  try {
    return { answer, skipBytes: positionBytes - startOf(answer, url, identity, positionBytes) };
  } catch (error) {
    answer.body.destroy();
    throw error;
  }
}

/** Offset in the file at which the body of `answer` starts, in bytes. */
function startOf(answer: HttpResponse, url: URL, identity: Identity, positionBytes: number): number {
  if (answer.status === 200) {
    requireSame(identity, identityOf(answer, url));
    return 0;
  }
  if (answer.status === 206) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(answer.headers['content-range'] ?? '');
    if (range === null) throw new Interrupted('the server sent a part of the file without saying which');
    const [, start, total] = range;
    requireSame(identity, { ...identityOf(answer, url), sizeBytes: total === '*' ? undefined : Number(total) });
    if (Number(start) > positionBytes)
      throw new Interrupted(`asked for byte ${positionBytes} on, the server sent byte ${start} on`);
    return Number(start);
  }
  if (answer.status === 416) throw new FileChanged('the file is shorter than what was read of it already', url);
  throw statusError(answer);
}

/**
 * Servers behind one name may tag the same file differently, so one matching validator is enough; if it lies, the signature tells in the end. Without
 * any validator only the length can be compared. Mirrors tag and date their copies each in its own way, so between two of them the length decides.
 */
function requireSame(before: Identity, after: Identity): void {
  const equal = (a: unknown, b: unknown) => (a === undefined || b === undefined ? undefined : a === b);
  const verdicts = [equal(before.etag, after.etag), equal(before.lastModified, after.lastModified)];
  const sameSize = equal(before.sizeBytes, after.sizeBytes);
  const sameState =
    before.url === after.url
      ? verdicts.includes(true) || !verdicts.includes(false)
      : (sameSize ?? verdicts.includes(true));
  if (sameSize !== false && sameState) return;
  const what = before.url === after.url ? 'the file changed during the download' : 'this mirror has another file';
  throw new FileChanged(what, after.url);
}

/** The error for a status that is not the file. */
export function statusError(answer: HttpResponse): Error {
  const text = `the server answers ${answer.status} ${answer.statusText}`.trimEnd();
  return isPassingStatus(answer.status) ? new PassingStatus(text) : new NotAvailable(text);
}

/** The chunks of a body; time spent by the reader of this generator does not count as the server's silence. */
export async function* readBody(
  body: http.IncomingMessage,
  { clock, timeoutSeconds }: DownloadOptions,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let waiting = true;
  using timer = clock.schedule(timeoutSeconds, () => {
    if (waiting) body.destroy(new HttpTimeoutError(`no data for ${timeoutSeconds} s`));
  });
  const abort = () => body.destroy(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    for await (const chunk of body) {
      waiting = false;
      yield chunk;
      signal.throwIfAborted();
      waiting = true;
      timer.restart();
    }
  } finally {
    signal.removeEventListener('abort', abort);
    body.destroy();
  }
}
