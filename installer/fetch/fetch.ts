import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { reasonOf } from '../../errors/reason.ts';
import type { HttpResponse } from '../../net/http-client.ts';
import { InstallError } from '../errors.ts';
import type { HttpClient } from './client.ts';
import { FileChanged, NoMirrorLeft, NotAvailable, TriesExhausted } from './errors.ts';
import { announcedSizeBytes, readBody, resumingBody, statusError } from './resume.ts';
import { createPatience, describeFailure } from './retry.ts';

/** An image that exists and is about to be read. */
export interface Image extends Disposable {
  /** URL or path, for messages. */
  readonly origin: string;
  /** Size of what is read (the compressed image), if it is known beforehand. */
  readonly sizeBytes: number | undefined;
  /** To be read once. Ends only at the true end of the image; throws {@link FileChanged} when the image must be read anew from its start. */
  readonly bytes: AsyncIterable<Uint8Array>;
}

/**
 * Opens an image on a server: when this returns, the server has begun to send it. Reading it survives connections that break or stall, and servers
 * that fail for good as long as another has the same file.
 * @param urls the image on each mirror, at least one, the preferred first
 * @throws {InstallError} `Image URL unavailable` when no server has it or can be reached after all tries
 */
export async function fetchImage(client: HttpClient, urls: readonly URL[], signal: AbortSignal): Promise<Image> {
  const what = { what: 'download', unavailable: 'Image URL unavailable' };
  const opened = new AbortController();
  const running = AbortSignal.any([signal, opened.signal]);
  const { answer, url } = await explained(client, urls, what, running, () => getWithRetries(client, urls, running));
  const others = urls.filter((other) => other !== url);
  return {
    origin: url.href,
    sizeBytes: announcedSizeBytes(answer),
    bytes: explainedBytes(client, urls, what, running, resumingBody(client, [url, ...others], answer, running)),
    [Symbol.dispose]: () => {
      opened.abort();
      answer.body.destroy();
    },
  };
}

/** Opens an image in a file of this machine. */
export async function openImageFile(path: string, signal: AbortSignal): Promise<Image> {
  const refuse = (why: string, cause?: unknown) =>
    new InstallError({
      what: 'read the image',
      target: path,
      why,
      hint: 'give the path of an image file with -f',
      cause,
    });
  const stats = await stat(path).catch((cause: unknown) => {
    throw refuse(reasonOf(cause), cause);
  });
  if (!stats.isFile()) throw refuse('it is not a regular file');
  if (stats.size === 0) throw refuse('it is empty');
  const stream = createReadStream(path, { highWaterMark: 1024 * 1024, signal });
  return { origin: path, sizeBytes: stats.size, bytes: stream, [Symbol.dispose]: () => stream.destroy() };
}

export interface SmallFile {
  /** What the download is for, in the infinitive: `download the signature`. */
  readonly what: string;
  /** First words of the error when the server does not have it. */
  readonly unavailable?: string;
  readonly maxBytes: number;
  /** Only over TLS from beginning to end: nothing but the connection vouches for it. Default: false. */
  readonly secure?: boolean;
}

/**
 * A whole file of at most `maxBytes`.
 * @param urls places that have it, at least one, the preferred first
 * @throws {InstallError} when it cannot be had or is larger
 */
export async function fetchSmallFile(
  client: HttpClient,
  urls: readonly URL[],
  file: SmallFile,
  signal: AbortSignal,
): Promise<Uint8Array> {
  return explained(client, urls, file, signal, async () => {
    const patience = createPatience(urls, client.options);
    for (;;) {
      try {
        const answer = await client.get(patience.url, {}, signal);
        if (answer.status !== 200) throw discarded(answer);
        if (file.secure === true && !answer.secure) throw refusedAsInsecure(answer);
        return await readSmallBody(answer, client, file.maxBytes, signal);
      } catch (failure) {
        await patience.afterFailure(failure, signal);
      }
    }
  });
}

async function readSmallBody(
  answer: HttpResponse,
  client: HttpClient,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let lengthBytes = 0;
  for await (const chunk of readBody(answer.body, client.options, signal)) {
    lengthBytes += chunk.length;
    if (lengthBytes > maxBytes) throw new NotAvailable(`it is larger than the ${maxBytes} bytes expected at most`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function getWithRetries(client: HttpClient, urls: readonly URL[], signal: AbortSignal) {
  const patience = createPatience(urls, client.options);
  for (;;) {
    try {
      const { url } = patience;
      const answer = await client.get(url, {}, signal);
      if (answer.status === 200) return { answer, url };
      throw discarded(answer);
    } catch (failure) {
      await patience.afterFailure(failure, signal);
    }
  }
}

function discarded(answer: HttpResponse): Error {
  answer.body.destroy();
  return statusError(answer);
}

function refusedAsInsecure(answer: HttpResponse): Error {
  answer.body.destroy();
  return new NotAvailable('it was redirected through a connection without TLS, where anybody could change it');
}

/** Runs `action`; what fails in it is told in terms of the URLs and of what to do. */
async function explained<T>(
  client: HttpClient,
  urls: readonly URL[],
  what: Wording,
  signal: AbortSignal,
  action: () => Promise<T>,
): Promise<T> {
  try {
    return await action();
  } catch (error) {
    signal.throwIfAborted();
    throw explain(client, urls, what, error);
  }
}

async function* explainedBytes(
  client: HttpClient,
  urls: readonly URL[],
  what: Wording,
  signal: AbortSignal,
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    yield* bytes;
  } catch (error) {
    signal.throwIfAborted();
    throw explain(client, urls, what, error);
  }
}

type Wording = Pick<SmallFile, 'what' | 'unavailable'>;

function explain(
  { options: { clock } }: HttpClient,
  urls: readonly URL[],
  { what, unavailable }: Wording,
  error: unknown,
): unknown {
  const problem = { what, target: urls.map(({ href }) => href).join(' or '), cause: error };
  if (error instanceof NoMirrorLeft) {
    const why = `${unavailable ?? 'no mirror has it'}: ${error.message}`;
    return new InstallError({ ...problem, why, hint: 'check the version, channel, board and each base URL' });
  }
  if (error instanceof NotAvailable) {
    if (unavailable === undefined) return new InstallError({ ...problem, why: error.message });
    const hint = 'check the version, channel, board and base URL';
    return new InstallError({ ...problem, why: `${unavailable}: ${error.message}`, hint });
  }
  const cause = error instanceof TriesExhausted ? error.cause : error;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
  if (code === undefined && !(error instanceof TriesExhausted)) return error;
  return new InstallError({ ...problem, why: describeFailure(error), hint: hintFor(code ?? '', clock.now()) });
}

/** @param code Node's, for a failure of the network or of TLS */
function hintFor(code: string, now: Date): string {
  if (code === 'CERT_NOT_YET_VALID' || code === 'CERT_HAS_EXPIRED')
    return `check the clock, which says ${now.toISOString()}`;
  const isDistrust = code.includes('CERT') || code.startsWith('UNABLE_TO_');
  return isDistrust
    ? 'name a file with the authority to trust in SSL_CERT_FILE'
    : 'check the network, name resolution and proxy';
}
