import { createHash } from 'node:crypto';
import type { Clock } from '../clock/clock.ts';
import { RegistryError } from './connection.ts';
import { algorithmOf } from './digest.ts';
import { type BlobDescriptor, Endpoint, type FetchedManifest } from './endpoint.ts';
import type { RegistryHost } from './hosts.ts';
import type { RegistryLogin } from './login.ts';

/** All of a blob came, and is another one. */
export class WrongContentError extends RegistryError {}

/** How often a blob is resumed. */
export interface BlobRetries {
  /** Attempts in a row without a single new byte before giving up. */
  readonly tries: number;
  /** Pause after the n-th failure in a row (n starts at 1), in seconds. */
  readonly pauseSeconds: (failures: number) => number;
  readonly onRetry: (notice: string) => void;
}

/**
 * A repository of a registry, at all hosts that have it (OCI distribution specification 1.1,
 * "Pulling"). Each is asked in turn until one returns the right content; one that broke off, sent
 * wrong content, or could not be reached is not asked again while there are others.
 */
export class Repository implements Disposable {
  readonly #endpoints: readonly Endpoint[];
  readonly #failed = new Set<Endpoint>();
  readonly #clock: Clock;

  /**
   * @param name Name at the registry, for example `library/busybox`.
   * @param registry `host[:port]` in the names of its images.
   * @param login Only for the registry itself.
   * @param idleTimeoutSeconds A server that sends nothing for this time has failed. Default: 60.
   */
  constructor(
    name: string,
    registry: string,
    hosts: readonly RegistryHost[],
    login: RegistryLogin | undefined,
    clock: Clock,
    idleTimeoutSeconds = 60,
  ) {
    this.#clock = clock;
    this.#endpoints = hosts.map((host) => new Endpoint(name, registry, host, login, clock, idleTimeoutSeconds));
  }

  /**
   * What a tag means now, without getting it: registries that limit how much is pulled do not count
   * this.
   * @returns `undefined` if no host says, for any reason: {@link manifest} reports that
   * @throws the reason of the signal
   */
  async resolve(tag: string, signal: AbortSignal): Promise<Omit<FetchedManifest, 'bytes'> | undefined> {
    try {
      return await this.#first(
        ({ host }) => host.resolves,
        (endpoint) => endpoint.resolve(tag, signal),
        signal,
      );
    } catch (error) {
      if (error instanceof RegistryError) return undefined;
      throw error;
    }
  }

  /**
   * @param name tag or digest
   * @throws {RegistryError}; the reason of the signal
   */
  async manifest(name: string, signal: AbortSignal): Promise<FetchedManifest> {
    const isDigest = name.includes(':');
    return await this.#first(
      ({ host }) => (isDigest ? host.pulls : host.resolves),
      (endpoint) => endpoint.manifest(name, isDigest, signal),
      signal,
    );
  }

  /**
   * @param receive Receives the bytes; is called again when a host breaks off in their middle, or
   * when their digest is wrong, which is known only at their end.
   * @throws {RegistryError}; what `receive` throws; the reason of the signal
   */
  async blob<Result>(
    descriptor: BlobDescriptor,
    receive: (content: AsyncIterable<Buffer>) => Promise<Result>,
    signal: AbortSignal,
  ): Promise<Result> {
    return await this.#first(
      ({ host }) => host.pulls,
      (endpoint) => endpoint.blob(descriptor, receive, signal),
      signal,
    );
  }

  /**
   * Reads a blob that is too large to be read twice: where a host breaks off it is resumed, from any
   * host, because its digest says that all have the same.
   * @returns its bytes, each once
   * @throws {WrongContentError} at the end: the digest is not the right one; the hosts that sent it
   *   are not asked again while there are others
   * @throws {RegistryError} no host sent another byte in all tries; the reason of the signal
   */
  async *read(descriptor: BlobDescriptor, retries: BlobRetries, signal: AbortSignal): AsyncGenerator<Buffer> {
    const hash = createHash(algorithmOf(descriptor.digest));
    const senders = new Set<Endpoint>();
    let position = 0;
    for (let failures = 0; position < descriptor.size || descriptor.size === 0; ) {
      try {
        const opened = await this.#first(
          ({ host }) => host.pulls,
          async (endpoint) => ({ endpoint, ...(await endpoint.openBlob(descriptor, position, signal)) }),
          signal,
        );
        senders.add(opened.endpoint);
        try {
          for await (const chunk of opened.chunks) {
            if (position + chunk.length > descriptor.size)
              throw new RegistryError(`${opened.url} is larger than ${descriptor.size} bytes`, { isRefusal: true });
            position += chunk.length;
            failures = 0;
            hash.update(chunk);
            yield chunk;
          }
        } finally {
          opened.discard();
        }
        if (position === descriptor.size) break;
        throw new RegistryError(`${opened.url} has ${position} of ${descriptor.size} bytes`);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof RegistryError) || error.isRefusal || failures + 1 >= retries.tries) throw error;
        failures++;
        retries.onRetry(`${error.message}; resuming after ${position} bytes`);
        await this.#clock.wait(retries.pauseSeconds(failures), signal);
      }
    }
    const actual = `${algorithmOf(descriptor.digest)}:${hash.digest('hex')}`;
    if (actual === descriptor.digest) return;
    for (const endpoint of senders) this.#failed.add(endpoint);
    throw new WrongContentError(`the content is wrong: its digest is ${actual}, not ${descriptor.digest}`);
  }

  /** Whether there is a host of content that has not failed. */
  get hasOtherHosts(): boolean {
    return this.#endpoints.some((endpoint) => endpoint.host.pulls && !this.#failed.has(endpoint));
  }

  [Symbol.dispose](): void {
    for (const endpoint of this.#endpoints) endpoint[Symbol.dispose]();
  }

  async #first<Result>(
    isUsable: (endpoint: Endpoint) => boolean,
    send: (endpoint: Endpoint) => Promise<Result>,
    signal: AbortSignal,
  ): Promise<Result> {
    const usable = this.#endpoints.filter(isUsable);
    const preferred = usable.filter((endpoint) => !this.#failed.has(endpoint));
    const failures: RegistryError[] = [];
    for (const endpoint of preferred.length > 0 ? preferred : usable) {
      try {
        return await send(endpoint);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof RegistryError)) throw error;
        if (!error.isRefusal) this.#failed.add(endpoint);
        failures.push(error);
      }
    }
    throw failureOf(failures);
  }
}

/**
 * The registry itself is the last: its failure is the reason, those of its mirrors are only a
 * cause.
 */
function failureOf(failures: readonly RegistryError[]): RegistryError {
  const last = failures.at(-1);
  if (last === undefined)
    return new RegistryError('no host of the registry configuration may be asked', { reason: 'bad-configuration' });
  if (failures.length === 1) return last;
  const { message, reason, isRefusal } = last;
  return new RegistryError(message, { reason, isRefusal, cause: new AggregateError(failures) });
}
