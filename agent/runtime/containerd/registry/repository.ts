import { createHash } from 'node:crypto';
import type { Clock } from '../../../../clock/clock.ts';
import type { EngineAuthentication } from '../../credentials.ts';
import { authorizationFor, parseChallenges, readText, refusal } from './authorization.ts';
import {
  type Answer,
  hungUp,
  type Question,
  RegistryConnection,
  RegistryError,
  shown,
  spokePlainHttp,
} from './connection.ts';
import type { RegistryHost } from './hosts.ts';

export { RegistryError } from './connection.ts';

/** A manifest or an index of them, exactly as the registry has it. */
export interface ManifestAnswer {
  readonly bytes: Buffer;
  /** `sha256:…` of the bytes, or in the algorithm that it was asked for by. */
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
const longestManifestBytes = 4 * 1024 * 1024;
const longestExplanationBytes = 64 * 1024;

/**
 * A repository of a registry, at all places that have it (OCI distribution specification 1.1, "Pulling"). Each is asked in turn until one gives what it
 * should; one that broke off, lied, or could not be reached is not asked again while there are others.
 */
export class Repository implements Disposable {
  readonly #places: readonly Place[];
  readonly #failed = new Set<Place>();

  /**
   * @param name What the registry calls it, for example `library/busybox`.
   * @param registry `host[:port]` in the names of its images.
   * @param authentication Only for the registry itself.
   * @param silenceSeconds A server from which nothing comes for so long has failed. Default: 60.
   */
  constructor(
    name: string,
    registry: string,
    hosts: readonly RegistryHost[],
    authentication: EngineAuthentication | undefined,
    clock: Clock,
    silenceSeconds = 60,
  ) {
    this.#places = hosts.map((host) => new Place(name, registry, host, authentication, clock, silenceSeconds));
  }

  /**
   * What a tag means now, without getting it: registries that limit how much is pulled do not count this.
   * @returns `undefined` if nobody says, for whatever reason: {@link manifest} will tell @throws the reason of the signal
   */
  async resolve(tag: string, signal: AbortSignal): Promise<Omit<ManifestAnswer, 'bytes'> | undefined> {
    try {
      return await this.#first(
        ({ host }) => host.resolves,
        (place) => place.resolve(tag, signal),
        signal,
      );
    } catch (error) {
      if (error instanceof RegistryError) return undefined;
      throw error;
    }
  }

  /** @param name tag or digest @throws {RegistryError}; the reason of the signal */
  async manifest(name: string, signal: AbortSignal): Promise<ManifestAnswer> {
    const isDigest = name.includes(':');
    return await this.#first(
      ({ host }) => (isDigest ? host.pulls : host.resolves),
      (place) => place.manifest(name, isDigest, signal),
      signal,
    );
  }

  /**
   * @param receive Gets the bytes; is called again when a place breaks off in their middle or when they are not what they should be, which is known only
   * at their end.
   * @throws {RegistryError}; what `receive` throws; the reason of the signal
   */
  async blob<Result>(
    descriptor: BlobDescriptor,
    receive: (content: AsyncIterable<Buffer>) => Promise<Result>,
    signal: AbortSignal,
  ): Promise<Result> {
    return await this.#first(
      ({ host }) => host.pulls,
      (place) => place.blob(descriptor, receive, signal),
      signal,
    );
  }

  [Symbol.dispose](): void {
    for (const place of this.#places) place[Symbol.dispose]();
  }

  async #first<Result>(
    canAnswer: (place: Place) => boolean,
    ask: (place: Place) => Promise<Result>,
    signal: AbortSignal,
  ): Promise<Result> {
    const able = this.#places.filter(canAnswer);
    const trusted = able.filter((place) => !this.#failed.has(place));
    const failures: RegistryError[] = [];
    for (const place of trusted.length > 0 ? trusted : able) {
      try {
        return await ask(place);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof RegistryError)) throw error;
        if (error.statusCode === undefined) this.#failed.add(place);
        failures.push(error);
      }
    }
    throw failureOf(failures);
  }
}

/** The registry itself is the last: what it says is the reason, what its mirrors said is no more than a cause. */
function failureOf(failures: readonly RegistryError[]): RegistryError {
  const last = failures.at(-1);
  if (last === undefined)
    return new RegistryError('no host of the registry configuration may be asked', undefined, { reason: 'unusable' });
  return failures.length === 1
    ? last
    : new RegistryError(last.message, last.statusCode, { cause: new AggregateError(failures), reason: last.reason });
}

/** What a place is asked for. */
interface Wanted {
  /** Behind the repository's name. */
  readonly path: string;
  /** Media types. */
  readonly accept: readonly string[];
  /** What it is that is not there if the answer is 404. */
  readonly missing: string;
  readonly method?: 'HEAD';
}

/** A repository at one place. */
class Place implements Disposable {
  readonly host: RegistryHost;
  readonly #name: string;
  readonly #registry: string;
  readonly #credentials: EngineAuthentication | undefined;
  readonly #connection: RegistryConnection;
  #api: URL;
  #authorization: string | undefined;

  constructor(
    name: string,
    registry: string,
    host: RegistryHost,
    authentication: EngineAuthentication | undefined,
    clock: Clock,
    silenceSeconds: number,
  ) {
    this.host = host;
    this.#name = name;
    this.#registry = registry;
    this.#credentials = host.isRegistry ? authentication : undefined;
    this.#connection = new RegistryConnection(host, silenceSeconds, clock);
    this.#api = host.url;
  }

  async resolve(tag: string, signal: AbortSignal): Promise<Omit<ManifestAnswer, 'bytes'> | undefined> {
    const question = { path: `manifests/${tag}`, accept: manifestTypes, missing: 'manifest unknown: ' };
    const answer = await this.#get({ ...question, method: 'HEAD' }, signal);
    answer.discard();
    const digest = answer.headers['docker-content-digest'];
    return typeof digest === 'string' ? { digest, mediaType: mediaTypeOf(answer) } : undefined;
  }

  async manifest(name: string, isDigest: boolean, signal: AbortSignal): Promise<ManifestAnswer> {
    const question = { path: `manifests/${name}`, accept: manifestTypes, missing: 'manifest unknown: ' };
    const answer = await this.#get(question, signal);
    const stated = answer.headers['docker-content-digest'];
    const expected = isDigest ? name : typeof stated === 'string' ? stated : undefined;
    const hash = createHash(algorithmOf(expected ?? 'sha256:'));
    const read: Buffer[] = [];
    let sizeBytes = 0;
    for await (const chunk of answer.chunks()) {
      sizeBytes += chunk.length;
      if (sizeBytes > longestManifestBytes)
        throw new RegistryError(`${shown(answer.url)} is no manifest: too long`, undefined);
      read.push(chunk);
      hash.update(chunk);
    }
    const digest = `${algorithmOf(expected ?? 'sha256:')}:${hash.digest('hex')}`;
    if (expected !== undefined && digest !== expected) throw mismatch(answer, digest, expected);
    return { bytes: Buffer.concat(read), digest, mediaType: mediaTypeOf(answer) };
  }

  async blob<Result>(
    descriptor: BlobDescriptor,
    receive: (content: AsyncIterable<Buffer>) => Promise<Result>,
    signal: AbortSignal,
  ): Promise<Result> {
    const question = { path: `blobs/${descriptor.digest}`, accept: ['*/*'], missing: 'blob not found: ' };
    const answer = await this.#get(question, signal);
    try {
      return await receive(verified(answer, descriptor));
    } finally {
      answer.discard();
    }
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }

  async #get(wanted: Wanted, signal: AbortSignal): Promise<Answer> {
    const first = await this.#ask(wanted, signal);
    const answer = first.status === 401 ? await this.#authorized(first, wanted, signal) : first;
    if (answer.status === 200) return answer;
    const body = await readText(answer, longestExplanationBytes);
    throw this.#withoutSecrets(refusal(answer, body, wanted.missing));
  }

  /** The same again with what the registry wants to see; the refusal itself if we do not have that. */
  async #authorized(refused: Answer, wanted: Wanted, signal: AbortSignal): Promise<Answer> {
    // A server that the registry redirects to has no claim to its credentials.
    if (refused.url.origin !== this.#api.origin) return refused;
    const challenges = parseChallenges(refused.headers['www-authenticate'] ?? '');
    try {
      this.#authorization = await authorizationFor(challenges, {
        repository: this.#name,
        credentials: this.#credentials,
        isSecure: this.#api.protocol === 'https:',
        ask: (url, question) => this.#connection.ask(url, question, signal),
      });
    } catch (error) {
      throw error instanceof RegistryError ? this.#withoutSecrets(error) : error;
    }
    if (this.#authorization === undefined) return refused;
    refused.discard();
    return await this.#ask(wanted, signal);
  }

  async #ask(wanted: Wanted, signal: AbortSignal): Promise<Answer> {
    try {
      return await this.#connection.ask(this.#url(wanted), this.#question(wanted), signal);
    } catch (error) {
      const hasNoTls = error instanceof RegistryError && (spokePlainHttp(error) || hungUp(error));
      if (!hasNoTls || !this.host.plainHttpWillDo || this.#api.protocol === 'http:') throw error;
      return await this.#askPlainly(wanted, error, signal);
    }
  }

  /** @throws {RegistryError} why it could not be reached over TLS, if that was not for plain HTTP */
  async #askPlainly(wanted: Wanted, error: RegistryError, signal: AbortSignal): Promise<Answer> {
    const secure = this.#api;
    this.#api = new URL(secure);
    this.#api.protocol = 'http:';
    this.#authorization = undefined;
    try {
      return await this.#connection.ask(this.#url(wanted), this.#question(wanted), signal);
    } catch (plainError) {
      signal.throwIfAborted();
      if (spokePlainHttp(error)) throw plainError;
      this.#api = secure;
      throw error;
    }
  }

  #url({ path }: Wanted): URL {
    const url = new URL(this.#api);
    url.pathname = `${url.pathname}/${this.#name}/${path}`;
    // A mirror of several registries must know which one is meant (containerd's docs/hosts.md).
    if (!this.host.isRegistry) url.searchParams.set('ns', this.#registry);
    return url;
  }

  #question({ accept, method }: Wanted): Question {
    const own = Object.fromEntries(Object.entries(this.host.headers).map(([name, values]) => [name, [...values]]));
    const authorization = this.#authorization === undefined ? {} : { authorization: this.#authorization };
    return {
      headers: { accept: accept.join(', ') },
      privateHeaders: { ...own, ...authorization },
      ...(method && { method }),
    };
  }

  /** A server may repeat in its explanation what it was sent. */
  #withoutSecrets(error: RegistryError): RegistryError {
    const { password, identitytoken } = this.#credentials ?? {};
    const secrets = [password, identitytoken, this.#authorization?.replace(/^\w+ /, '')];
    const message = secrets.reduce<string>(
      (text, secret) => (secret ? text.replaceAll(secret, '***') : text),
      error.message,
    );
    return new RegistryError(message, error.statusCode, { reason: error.reason });
  }
}

/** The bytes of a blob, which at their end turn out to be those that were meant. */
async function* verified(answer: Answer, { digest, size }: BlobDescriptor): AsyncGenerator<Buffer, void, undefined> {
  const hash = createHash(algorithmOf(digest));
  let sizeBytes = 0;
  for await (const chunk of answer.chunks()) {
    sizeBytes += chunk.length;
    if (sizeBytes > size) throw new RegistryError(`${shown(answer.url)} has more than ${size} bytes`, undefined);
    hash.update(chunk);
    yield chunk;
  }
  if (sizeBytes < size) throw new RegistryError(`${shown(answer.url)} has ${sizeBytes} of ${size} bytes`, undefined);
  const actual = `${algorithmOf(digest)}:${hash.digest('hex')}`;
  if (actual !== digest) throw mismatch(answer, actual, digest);
}

function mediaTypeOf({ headers }: Answer): string | undefined {
  return headers['content-type']?.split(';')[0];
}

function algorithmOf(digest: string): string {
  const algorithm = digest.slice(0, digest.indexOf(':'));
  if (!['sha256', 'sha384', 'sha512'].includes(algorithm))
    throw new RegistryError(`unknown kind of digest: ${digest}`, undefined);
  return algorithm;
}

function mismatch({ url }: Answer, actual: string, expected: string): RegistryError {
  return new RegistryError(`${shown(url)} has the wrong content: its digest is ${actual}, not ${expected}`, undefined);
}
