import { constants, createReadStream, fstatSync, open as openFile, type Stats } from 'node:fs';
import { open, readFile, stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { addAbortSignal } from 'node:stream';
import { promisify } from 'node:util';
import { reasonOf } from '../errors/reason.ts';
import { codeOf } from './disk/in-use.ts';
import { InstallError } from './errors.ts';
import type { Image } from './fetch/fetch.ts';

/** For messages: what `-f` names. */
export function nameOfImageFile(path: string): string {
  return path === '-' ? 'standard input' : path;
}

/**
 * Checks that an image could be read, without reading it: what a pipe has can be read once.
 * @throws {InstallError}
 */
export async function requireImageFile(path: string): Promise<Stats> {
  const inherited = inheritedFile(path);
  const stats = await (inherited === undefined ? stat(path) : fstatOf(inherited)).catch((cause: unknown) => {
    throw refusal(path, reasonOf(cause), cause);
  });
  if (isPipe(stats)) return stats;
  if (!stats.isFile()) throw refusal(path, 'it is neither a regular file nor a pipe');
  if (stats.size === 0) throw refusal(path, 'it is empty');
  return stats;
}

/** False for pipes, and for files that the shell has opened. */
export async function canReadTwice(path: string): Promise<boolean> {
  return inheritedFile(path) === undefined && (await stat(path)).isFile();
}

/**
 * Opens an image in a file of this machine, in a pipe (`<(…)`), or on standard input (`-`).
 * @throws {InstallError}
 */
export async function openImageFile(path: string, signal: AbortSignal): Promise<Image> {
  const stats = await requireImageFile(path);
  const origin = nameOfImageFile(path);
  const inherited = inheritedFile(path);
  if (!isPipe(stats)) {
    const options = { highWaterMark: 1024 * 1024, signal };
    const stream =
      inherited === undefined
        ? createReadStream(path, options)
        : createReadStream('', { ...options, fd: inherited, autoClose: false });
    return {
      origin,
      sizeBytes: stats.size,
      bytes: notEmpty(stream, path, signal),
      [Symbol.dispose]: () => void stream.destroy(),
    };
  }
  // Waits in the event loop: a thread that waits for a writer could not be interrupted.
  const stream = new Socket({ fd: inherited ?? (await openPipe(path, signal)), readable: true, writable: false });
  addAbortSignal(signal, stream);
  const dispose = () => {
    stream.on('error', () => {});
    stream.destroy();
  };
  return { origin, sizeBytes: undefined, bytes: notEmpty(stream, path, signal), [Symbol.dispose]: dispose };
}

/**
 * The signature in the file beside an image. A pipe has none.
 * @param maxBytes more is no signature
 * @throws {InstallError} it cannot be read
 */
export async function readSignatureBeside(path: string, maxBytes: number): Promise<Uint8Array | undefined> {
  if (inheritedFile(path) !== undefined) return undefined;
  const name = `${path}.sig`;
  const refuse = (why: string, cause?: unknown) =>
    new InstallError({
      what: 'read the signature',
      target: name,
      why,
      hint: 'remove it, or replace it with the signature of the image',
      cause,
    });
  try {
    if ((await stat(name)).size > maxBytes) throw refuse(`it is larger than ${maxBytes} bytes`);
    return await readFile(name);
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined;
    throw error instanceof InstallError ? error : refuse(reasonOf(error), error);
  }
}

/**
 * A file that the shell has opened for this process. To open its name again would wait for a
 * second writer, and would read a regular file from its beginning.
 */
function inheritedFile(path: string): number | undefined {
  if (path === '-' || path === '/dev/stdin') return 0;
  const [, number] = /^\/(?:dev|proc\/self)\/fd\/(\d+)$/.exec(path) ?? [];
  return number === undefined ? undefined : Number(number);
}

async function fstatOf(file: number): Promise<Stats> {
  return fstatSync(file);
}

function isPipe(stats: Stats): boolean {
  return stats.isFIFO() || stats.isSocket();
}

/**
 * Opening a pipe with a name waits for its writer, and nothing ends that wait but a writer: when
 * the signal is aborted, this process is one until the wait has ended.
 * @returns a file descriptor, to be closed by the caller
 */
async function openPipe(path: string, signal: AbortSignal): Promise<number> {
  signal.throwIfAborted();
  const opening = promisify(openFile)(path, constants.O_RDONLY);
  const release = async () => {
    const writer = await open(path, constants.O_RDWR | constants.O_NONBLOCK);
    await opening.finally(() => writer.close());
  };
  const onAbort = () => void release().catch(() => {}); // the caller gets the reason of the signal
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await opening;
  } catch (cause) {
    throw refusal(path, reasonOf(cause), cause);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** @throws {InstallError} there is nothing; the reason of the signal */
async function* notEmpty(
  source: AsyncIterable<Uint8Array>,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let isEmpty = true;
  try {
    for await (const chunk of source) {
      isEmpty = false;
      yield chunk;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
  if (isEmpty) throw refusal(path, 'it is empty');
}

function refusal(path: string, why: string, cause?: unknown): InstallError {
  return new InstallError({
    what: 'read the image',
    target: nameOfImageFile(path),
    why,
    hint: 'give the path of an image file with -f, or - for standard input',
    cause,
  });
}
