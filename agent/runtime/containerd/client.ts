import {
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import type { Clock } from '../../../clock/clock.ts';
import { startDeadline } from '../../../clock/deadline.ts';
import { systemClock } from '../../../clock/system.ts';
import type { MessageFns } from '../../../proto/containerd.pb.ts';

/** A service as the generator describes it. */
interface Service {
  readonly name: string;
  readonly methods: Readonly<
    Record<string, { readonly name: string; readonly requestType: object; readonly responseType: object }>
  >;
}

type Message<Type> = Type extends MessageFns<infer Content> ? Content : never;
type Request<S extends Service, M extends keyof S['methods']> = Message<S['methods'][M]['requestType']>;
type Response<S extends Service, M extends keyof S['methods']> = Message<S['methods'][M]['responseType']>;

/** A call that containerd refused, or did not answer. */
export class ContainerdError extends Error {
  override readonly name = 'ContainerdError';
  /** Of gRPC. */
  readonly code: status;

  constructor(error: ServiceError) {
    super(error.details || error.message, { cause: error });
    this.code = error.code;
  }
}

export interface CallOptions {
  readonly signal: AbortSignal;
  /** Id of the lease that holds what the call makes. Default: none. */
  readonly lease?: string | undefined;
}

/**
 * Calls to containerd in one of its namespaces. Connects when first needed, and again when the
 * connection broke.
 */
export class ContainerdClient {
  readonly namespace: string;
  readonly clock: Clock;
  readonly #client: Client;

  /** @param socket path */
  constructor(socket: string, namespace: string, clock: Clock = systemClock) {
    this.clock = clock;
    this.namespace = namespace;
    this.#client = new Client(`unix:${socket}`, credentials.createInsecure(), {
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 2000,
      'grpc.max_receive_message_length': 16 * 1024 * 1024,
      'grpc.max_send_message_length': 16 * 1024 * 1024,
    });
  }

  /**
   * One request, one answer.
   * @throws {ContainerdError}; the reason of the signal.
   */
  async call<S extends Service, M extends keyof S['methods'] & string>(
    service: S,
    method: M,
    request: Request<S, M>,
    options: CallOptions,
  ): Promise<Response<S, M>> {
    const { signal } = options;
    signal.throwIfAborted();
    const { path, serialize, deserialize } = describe(service, method);
    const { promise, resolve, reject } = Promise.withResolvers<Response<S, M>>();
    const call = this.#client.makeUnaryRequest(
      path,
      serialize,
      deserialize,
      request,
      this.#metadata(options),
      (error, answer) => {
        if (error) reject(new ContainerdError(error));
        else resolve(answer as Response<S, M>);
      },
    );
    const cancel = () => call.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      return await promise;
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }

  /**
   * One request, a stream of answers.
   * @throws {ContainerdError}; the reason of the signal.
   */
  async *stream<S extends Service, M extends keyof S['methods'] & string>(
    service: S,
    method: M,
    request: Request<S, M>,
    options: CallOptions,
  ): AsyncGenerator<Response<S, M>, void, undefined> {
    const { path, serialize, deserialize } = describe(service, method);
    options.signal.throwIfAborted();
    const call: ClientReadableStream<unknown> = this.#client.makeServerStreamRequest(
      path,
      serialize,
      deserialize,
      request,
      this.#metadata(options),
    );
    yield* answersOf<Response<S, M>>(call, options.signal);
  }

  /**
   * Requests and answers at the same time: the caller writes into it, ends it, and reads the
   * answers from it by {@link answersOf}.
   */
  open<S extends Service, M extends keyof S['methods'] & string>(
    service: S,
    method: M,
    options: CallOptions,
  ): ClientDuplexStream<Request<S, M>, Response<S, M>> {
    const { path, serialize, deserialize } = describe(service, method);
    options.signal.throwIfAborted();
    return this.#client.makeBidiStreamRequest(
      path,
      serialize,
      deserialize,
      this.#metadata(options),
    ) as ClientDuplexStream<Request<S, M>, Response<S, M>>;
  }

  close(): void {
    this.#client.close();
  }

  #metadata({ lease }: CallOptions): Metadata {
    const metadata = new Metadata();
    metadata.set('containerd-namespace', this.namespace);
    if (lease !== undefined) metadata.set('containerd-lease', lease);
    return metadata;
  }
}

/**
 * The answers of a call that streams them.
 * @throws {ContainerdError}; the reason of the signal. A reader that stops early cancels the call.
 */
export async function* answersOf<Answer>(
  call: ClientReadableStream<unknown> | ClientDuplexStream<unknown, unknown>,
  signal: AbortSignal,
): AsyncGenerator<Answer, void, undefined> {
  const cancel = () => call.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  if (signal.aborted) cancel();
  try {
    for await (const answer of call) yield answer as Answer;
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof Error && 'details' in error ? new ContainerdError(error as ServiceError) : error;
  } finally {
    signal.removeEventListener('abort', cancel);
    call.cancel();
  }
}

/** All of them are in version 1 of their service, in every containerd since 1.0. */
function describe<S extends Service, M extends keyof S['methods'] & string>(service: S, method: M) {
  const { name, requestType, responseType } = service.methods[method] as S['methods'][M];
  const request = requestType as MessageFns<unknown>;
  const response = responseType as MessageFns<unknown>;
  return {
    path: `/containerd.services.${service.name.toLowerCase()}.v1.${service.name}/${name}`,
    serialize: (message: unknown) => Buffer.from(request.encode(message).finish()),
    deserialize: (bytes: Buffer) => response.decode(bytes),
  };
}

const cleanUpTimeoutSeconds = 10;

/**
 * Makes a call that cleans up, although the signal of the work may be aborted.
 * @throws what {@link ContainerdClient.call} throws
 */
export async function cleanUp<Result>(
  { clock }: ContainerdClient,
  call: (options: CallOptions) => Promise<Result>,
): Promise<Result> {
  using deadline = startDeadline(clock, { seconds: cleanUpTimeoutSeconds, awaited: 'answer' });
  return await call({ signal: deadline.signal });
}

export function isNotFound(error: unknown): boolean {
  return error instanceof ContainerdError && error.code === status.NOT_FOUND;
}

export function alreadyExists(error: unknown): boolean {
  return error instanceof ContainerdError && error.code === status.ALREADY_EXISTS;
}

/** Whether containerd does not answer at the socket, or not yet. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof ContainerdError && error.code === status.UNAVAILABLE;
}

/** What work returns; `undefined` if it throws an error that is harmless here. */
export async function ignoreIf<Result>(
  isHarmless: (error: unknown) => boolean,
  work: Promise<Result>,
): Promise<Result | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isHarmless(error)) return undefined;
    throw error;
  }
}
