import { createHash } from 'node:crypto';
import type { Clock } from '../clock/clock.ts';
import { authorizationFor, parseChallenges, readText, refusal } from './authorization.ts';
import {
  hungUp,
  RegistryConnection,
  RegistryError,
  type RegistryRequest,
  type RegistryResponse,
  redactUrl,
  spokePlainHttp,
} from './connection.ts';
import { algorithmOf } from './digest.ts';
import type { RegistryHost } from './hosts.ts';
import type { RegistryLogin } from './login.ts';

/** A manifest or an index of them, exactly as the registry has it. */
export interface FetchedManifest {
  readonly bytes: Buffer;
  /** `sha256:…` of the bytes, or in the algorithm of the digest that was asked for. */
  readonly digest: string;
  /** As the registry says; manifests may say otherwise themselves. */
  readonly mediaType: string | undefined;
}

/** What a blob must be. */
export interface BlobDescriptor {
  readonly digest: string;
  readonly size: number;
}

const manifestTypes = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];
/** As in containerd. */
const maxManifestBytes = 4 * 1024 * 1024;
const maxExplanationBytes = 64 * 1024;

/** Something of the repository. */
interface Resource {
  /** Behind the repository's name. */
  readonly path: string;
  /** Media types. */
  readonly accept: readonly string[];
  /** What is missing if the status is 404. */
  readonly missing: string;
  readonly method?: 'HEAD';
  /** The first byte that is wanted. Default: 0. */
  readonly start?: number;
}

/** A blob, or its rest, that a host has begun to send. */
interface OpenedBlob {
  /** For messages. */
  readonly url: string;
  /** From the byte that was asked for. */
  readonly chunks: AsyncIterable<Buffer>;
  discard(): void;
}

/**
 * A repository at one host.
 * @throws {RegistryError} by each method; the reason of the signal
 */
export class Endpoint implements Disposable {
  readonly host: RegistryHost;
  readonly #name: string;
  readonly #registry: string;
  readonly #login: RegistryLogin | undefined;
  readonly #connection: RegistryConnection;
  #api: URL;
  #authorization: string | undefined;

  constructor(
    name: string,
    registry: string,
    host: RegistryHost,
    login: RegistryLogin | undefined,
    clock: Clock,
    idleTimeoutSeconds: number,
  ) {
    this.host = host;
    this.#name = name;
    this.#registry = registry;
    this.#login = host.isRegistry ? login : undefined;
    this.#connection = new RegistryConnection(host, idleTimeoutSeconds, clock);
    this.#api = host.url;
  }

  async resolve(tag: string, signal: AbortSignal): Promise<Omit<FetchedManifest, 'bytes'> | undefined> {
    const resource = { path: `manifests/${tag}`, accept: manifestTypes, missing: 'manifest unknown: ' };
    const response = await this.#get({ ...resource, method: 'HEAD' }, signal);
    response.discard();
    const digest = response.headers['docker-content-digest'];
    if (typeof digest === 'string') algorithmOf(digest);
    return typeof digest === 'string' ? { digest, mediaType: mediaTypeOf(response) } : undefined;
  }

  async manifest(name: string, isDigest: boolean, signal: AbortSignal): Promise<FetchedManifest> {
    const resource = { path: `manifests/${name}`, accept: manifestTypes, missing: 'manifest unknown: ' };
    const response = await this.#get(resource, signal);
    const stated = response.headers['docker-content-digest'];
    const expected = isDigest ? name : typeof stated === 'string' ? stated : undefined;
    const algorithm = expected === undefined ? 'sha256' : this.#algorithmOf(expected, response);
    const hash = createHash(algorithm);
    const read: Buffer[] = [];
    let sizeBytes = 0;
    for await (const chunk of response.chunks()) {
      sizeBytes += chunk.length;
      if (sizeBytes > maxManifestBytes)
        throw new RegistryError(`${redactUrl(response.url)} is too long for a manifest`);
      read.push(chunk);
      hash.update(chunk);
    }
    const digest = `${algorithm}:${hash.digest('hex')}`;
    if (expected !== undefined && digest !== expected) throw mismatch(response, digest, expected);
    return { bytes: Buffer.concat(read), digest, mediaType: mediaTypeOf(response) };
  }

  async blob<Result>(
    descriptor: BlobDescriptor,
    receive: (content: AsyncIterable<Buffer>) => Promise<Result>,
    signal: AbortSignal,
  ): Promise<Result> {
    algorithmOf(descriptor.digest); // before it is part of a URL
    const resource = { path: `blobs/${descriptor.digest}`, accept: ['*/*'], missing: 'blob not found: ' };
    const response = await this.#get(resource, signal);
    try {
      return await receive(verified(response, descriptor));
    } finally {
      response.discard();
    }
  }

  /** @param start the first byte that is wanted */
  async openBlob({ digest }: BlobDescriptor, start: number, signal: AbortSignal): Promise<OpenedBlob> {
    algorithmOf(digest); // before it is part of a URL
    const resource = { path: `blobs/${digest}`, accept: ['*/*'], missing: 'blob not found: ', start };
    const response = await this.#get(resource, signal);
    const url = redactUrl(response.url);
    const range = response.headers['content-range'];
    if (response.status === 206 && !range?.startsWith(`bytes ${start}-`)) {
      response.discard();
      throw new RegistryError(`${url} sent another part than that from byte ${start}`);
    }
    // Without ranges it sends all of it again.
    const chunks = response.status === 206 ? response.chunks() : skip(response.chunks(), start);
    return { url, chunks, discard: () => response.discard() };
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }

  /** Of a digest that a registry names; its response is given up if there is none. */
  #algorithmOf(digest: string, response: RegistryResponse): string {
    try {
      return algorithmOf(digest);
    } catch (error) {
      response.discard();
      throw error;
    }
  }

  async #get(resource: Resource, signal: AbortSignal): Promise<RegistryResponse> {
    const first = await this.#send(resource, signal);
    const response = first.status === 401 ? await this.#authorized(first, resource, signal) : first;
    if (response.status === 200 || (response.status === 206 && resource.start !== undefined)) return response;
    const body = await readText(response, maxExplanationBytes);
    throw this.#withoutSecrets(refusal(response, body, resource.missing));
  }

  /**
   * The same again with the credentials that the registry asks for; the refusal itself if there are
   * none.
   */
  async #authorized(refused: RegistryResponse, resource: Resource, signal: AbortSignal): Promise<RegistryResponse> {
    // A server that the registry redirects to has no claim to its credentials.
    if (refused.url.origin !== this.#api.origin) return refused;
    const challenges = parseChallenges(refused.headers['www-authenticate'] ?? '');
    try {
      this.#authorization = await authorizationFor(challenges, {
        repository: this.#name,
        login: this.#login,
        isSecure: this.#api.protocol === 'https:',
        request: (url, request) => this.#connection.request(url, request, signal),
      });
    } catch (error) {
      throw error instanceof RegistryError ? this.#withoutSecrets(error) : error;
    }
    if (this.#authorization === undefined) return refused;
    refused.discard();
    return await this.#send(resource, signal);
  }

  async #send(resource: Resource, signal: AbortSignal): Promise<RegistryResponse> {
    try {
      return await this.#connection.request(this.#url(resource), this.#requestFor(resource), signal);
    } catch (error) {
      const hasNoTls = error instanceof RegistryError && (spokePlainHttp(error) || hungUp(error));
      if (!hasNoTls || !this.host.allowsPlainHttp || this.#api.protocol === 'http:') throw error;
      return await this.#sendPlainly(resource, error, signal);
    }
  }

  /**
   * @throws {RegistryError} why it could not be reached over TLS, if that was not for plain HTTP
   */
  async #sendPlainly(resource: Resource, error: RegistryError, signal: AbortSignal): Promise<RegistryResponse> {
    const secure = this.#api;
    this.#api = new URL(secure);
    this.#api.protocol = 'http:';
    this.#authorization = undefined;
    try {
      return await this.#connection.request(this.#url(resource), this.#requestFor(resource), signal);
    } catch (plainError) {
      signal.throwIfAborted();
      if (spokePlainHttp(error)) throw plainError;
      this.#api = secure;
      throw error;
    }
  }

  #url({ path }: Resource): URL {
    const url = new URL(this.#api);
    url.pathname = `${url.pathname}/${this.#name}/${path}`;
    // A mirror of several registries must know which one is meant (containerd's docs/hosts.md).
    if (!this.host.isRegistry) url.searchParams.set('ns', this.#registry);
    return url;
  }

  #requestFor({ accept, method, start = 0 }: Resource): RegistryRequest {
    const own = Object.fromEntries(Object.entries(this.host.headers).map(([name, values]) => [name, [...values]]));
    const authorization = this.#authorization === undefined ? {} : { authorization: this.#authorization };
    return {
      headers: { accept: accept.join(', '), ...(start > 0 && { range: `bytes=${start}-` }) },
      privateHeaders: { ...own, ...authorization },
      ...(method && { method }),
    };
  }

  /** A server may repeat in its explanation what it received. */
  #withoutSecrets(error: RegistryError): RegistryError {
    const { reason, isRefusal } = error;
    const secrets = [...secretsOf(this.#login), this.#authorization?.replace(/^\w+ /, '')];
    const message = secrets.reduce<string>(
      (text, secret) => (secret ? text.replaceAll(secret, '***') : text),
      error.message,
    );
    return new RegistryError(message, { reason, isRefusal });
  }
}

function secretsOf(login: RegistryLogin | undefined): readonly string[] {
  if (login === undefined) return [];
  return 'identityToken' in login ? [login.identityToken] : [login.password];
}

/**
 * The bytes of a blob.
 * @throws {RegistryError} at their end, if their digest is not the right one
 */
async function* verified(
  response: RegistryResponse,
  { digest, size }: BlobDescriptor,
): AsyncGenerator<Buffer, void, undefined> {
  const hash = createHash(algorithmOf(digest));
  let sizeBytes = 0;
  for await (const chunk of response.chunks()) {
    sizeBytes += chunk.length;
    if (sizeBytes > size) throw new RegistryError(`${redactUrl(response.url)} is larger than ${size} bytes`);
    hash.update(chunk);
    yield chunk;
  }
  if (sizeBytes < size) throw new RegistryError(`${redactUrl(response.url)} has ${sizeBytes} of ${size} bytes`);
  const actual = `${algorithmOf(digest)}:${hash.digest('hex')}`;
  if (actual !== digest) throw mismatch(response, actual, digest);
}

async function* skip(chunks: AsyncIterable<Buffer>, count: number): AsyncGenerator<Buffer> {
  let rest = count;
  for await (const chunk of chunks) {
    if (rest < chunk.length) yield chunk.subarray(rest);
    rest = Math.max(0, rest - chunk.length);
  }
}

function mediaTypeOf({ headers }: RegistryResponse): string | undefined {
  return headers['content-type']?.split(';')[0];
}

function mismatch({ url }: RegistryResponse, actual: string, expected: string): RegistryError {
  return new RegistryError(`${redactUrl(url)} has the wrong content: its digest is ${actual}, not ${expected}`);
}
