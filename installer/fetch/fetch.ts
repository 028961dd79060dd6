import type { HttpResponse } from '../../net/http-client.ts';
import { HttpRequestError } from '../../net/http-error.ts';
import { BodyTooLargeError, readWholeBody } from '../../net/read-body.ts';
import { InstallError } from '../errors.ts';
import type { DownloadClient } from './client.ts';
import { NoMirrorLeftError, NotFoundError, RetriesExhaustedError, TransientStatusError } from './errors.ts';
import { announcedSizeBytes, resumingBody, statusError } from './resume.ts';
import { createRetryPolicy, describeFailure } from './retry.ts';

/** An image that is open for reading. */
export interface Image extends Disposable {
  /** URL or path, for messages. */
  readonly origin: string;
  /** Size of what is read (the compressed image), if the server announced it. */
  readonly sizeBytes: number | undefined;
  /**
   * Can be read once. It ends only at the true end of the image.
   * @throws {FileChangedError} the image must be read again from its start
   */
  readonly bytes: AsyncIterable<Uint8Array>;
}

/**
 * Opens an image on a server: when this returns, the server has begun to send it. Reading it
 * survives connections that break or stall, and servers that fail permanently as long as another
 * has the same file.
 *
 * @param urls the image on each mirror, at least one, the preferred first
 * @param notFoundHint as in {@link SmallFile}
 * @throws {InstallError} `Image URL unavailable`: no server has it, or none responds after all
 *   tries
 */
export async function fetchImage(
  client: DownloadClient,
  urls: readonly URL[],
  signal: AbortSignal,
  notFoundHint?: string,
): Promise<Image> {
  const purpose = imagePurpose(notFoundHint);
  const opened = new AbortController();
  const running = AbortSignal.any([signal, opened.signal]);
  const { response, url } = await withExplanation(client, urls, purpose, running, () =>
    getWithRetries(client, urls, running),
  );
  return imageOf(client, urls, purpose, { response, url }, opened, running);
}

/** What the errors of the download of an image say. */
export function imagePurpose(notFoundHint: string | undefined): Purpose {
  return { what: 'download', unavailable: 'Image URL unavailable', notFoundHint };
}

/**
 * The image that a server has begun to send.
 *
 * @param opened is aborted when the image is disposed of
 * @param running of `opened` and of the caller
 */
export function imageOf(
  client: DownloadClient,
  urls: readonly URL[],
  purpose: Purpose,
  { response, url }: { readonly response: HttpResponse; readonly url: URL },
  opened: AbortController,
  running: AbortSignal,
): Image {
  const others = urls.filter((other) => other !== url);
  return {
    origin: url.href,
    sizeBytes: announcedSizeBytes(response),
    bytes: bytesWithExplanation(
      client,
      urls,
      purpose,
      running,
      resumingBody(client, [url, ...others], response, running),
    ),
    [Symbol.dispose]: () => {
      opened.abort();
      response.body.destroy();
    },
  };
}

export interface SmallFile {
  /** What the download is for, in the infinitive: `download the signature`. */
  readonly what: string;
  /** First words of the error when no server has it. */
  readonly unavailable?: string;
  readonly maxBytes: number;
  /** What to do if no server has it. Default: about the options that name a release. */
  readonly notFoundHint?: string | undefined;
  /**
   * Accept it only over TLS, redirects included, because nothing but the connection authenticates
   * it. Default: false.
   */
  readonly secure?: boolean;
}

/**
 * Downloads a whole file of at most `maxBytes`.
 *
 * @param urls the file on each mirror, at least one, the preferred first
 * @throws {InstallError} no server has it, none responds, or it is larger
 */
export async function fetchSmallFile(
  client: DownloadClient,
  urls: readonly URL[],
  file: SmallFile,
  signal: AbortSignal,
): Promise<Uint8Array> {
  return withExplanation(client, urls, file, signal, async () => {
    const retries = createRetryPolicy(urls, client.options);
    for (;;) {
      try {
        const response = await client.get(retries.url, {}, signal);
        if (response.status !== 200) throw discarded(response, statusError(response));
        if (file.secure === true && !response.secure) throw discarded(response, insecureRedirectError());
        return await readSmallBody(response, client, file.maxBytes, signal);
      } catch (failure) {
        await retries.afterFailure(failure, signal);
      }
    }
  });
}

async function readSmallBody(
  response: HttpResponse,
  { options: { clock, timeoutSeconds } }: DownloadClient,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  try {
    return await readWholeBody(response.body, { clock, idleTimeoutSeconds: timeoutSeconds, maxBytes }, signal);
  } catch (cause) {
    if (cause instanceof BodyTooLargeError) throw new NotFoundError(`it is ${cause.message}`, { cause });
    throw cause;
  }
}

async function getWithRetries(client: DownloadClient, urls: readonly URL[], signal: AbortSignal) {
  const retries = createRetryPolicy(urls, client.options);
  for (;;) {
    try {
      const { url } = retries;
      const response = await client.get(url, {}, signal);
      if (response.status === 200) return { response, url };
      throw discarded(response, statusError(response));
    } catch (failure) {
      await retries.afterFailure(failure, signal);
    }
  }
}

export function discarded(response: HttpResponse, error: Error): Error {
  response.discard();
  return error;
}

function insecureRedirectError(): NotFoundError {
  return new NotFoundError('a redirect leads through plain HTTP, which can be tampered with');
}

/** For the errors of a download. */
export type Purpose = Pick<SmallFile, 'what' | 'unavailable' | 'notFoundHint'>;

/** Runs `action`. Its error is described with the URLs and with what the person can do. */
export async function withExplanation<T>(
  client: DownloadClient,
  urls: readonly URL[],
  purpose: Purpose,
  signal: AbortSignal,
  action: () => Promise<T>,
): Promise<T> {
  try {
    return await action();
  } catch (error) {
    signal.throwIfAborted();
    throw explain(client, urls, purpose, error);
  }
}

export async function* bytesWithExplanation(
  client: DownloadClient,
  urls: readonly URL[],
  purpose: Purpose,
  signal: AbortSignal,
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    yield* bytes;
  } catch (error) {
    signal.throwIfAborted();
    throw explain(client, urls, purpose, error);
  }
}

function explain(
  { options: { clock } }: DownloadClient,
  urls: readonly URL[],
  { what, unavailable, notFoundHint }: Purpose,
  error: unknown,
): unknown {
  const problem = { what, target: urls.map(({ href }) => href).join(' or '), cause: error };
  if (error instanceof NoMirrorLeftError) {
    const why = `${unavailable ?? 'no mirror has it'}: ${error.message}`;
    return new InstallError({ ...problem, why, hint: notFoundHint ?? releaseHint(urls, 'each ') });
  }
  if (error instanceof NotFoundError) {
    if (unavailable === undefined) return new InstallError({ ...problem, why: error.message });
    return new InstallError({
      ...problem,
      why: `${unavailable}: ${error.message}`,
      hint: notFoundHint ?? releaseHint(urls, ''),
    });
  }
  const isExhausted = error instanceof RetriesExhaustedError;
  const cause = isExhausted ? error.cause : error;
  if (!isExhausted && !isNetworkFailure(cause)) return error;
  return new InstallError({ ...problem, why: describeFailure(error), hint: hintFor(cause, clock.now()) });
}

/** @param each `each ` with several mirrors */
function releaseHint(urls: readonly URL[], each: string): string {
  const [, oem] = /\/flatcar_production_(\w+)_image\.bin/.exec(urls[0]?.pathname ?? '') ?? [];
  if (oem === undefined) return `check the version, channel, board and ${each}base URL`;
  return `this release may have no image for -o ${oem}: most OEMs have none of their own any more (leave out -o), or check the version and ${each}base URL`;
}

/** A failure before the response, or an error of Node's while the body was read. */
function isNetworkFailure(error: unknown): boolean {
  return error instanceof HttpRequestError || (error instanceof Error && 'code' in error);
}

function hintFor(cause: unknown, now: Date): string {
  if (cause instanceof TransientStatusError) return 'try again later, or use another server';
  const { reason, code } = cause instanceof HttpRequestError ? cause : {};
  if (reason === 'proxy') return 'change the proxy, or name the server in NO_PROXY';
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return 'use a name in the base URL that the certificate has';
  if (reason === 'not-yet-valid' || code === 'CERT_HAS_EXPIRED')
    return `check the clock: it shows ${now.toISOString()}`;
  return reason === 'untrusted'
    ? 'set SSL_CERT_FILE to a file with the certificate authority to trust'
    : 'check the network, name resolution and proxy';
}
