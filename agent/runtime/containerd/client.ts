import { Client, credentials, status } from '@grpc/grpc-js';
import type { Clock } from '../../../clock/clock.ts';
import { startDeadline } from '../../../clock/deadline.ts';
import { systemClock } from '../../../clock/system.ts';
import { reasonOf } from '../../../errors/reason.ts';
import { type BidirectionalCall, callServerStream, callUnary, openBidirectional } from '../../../net/grpc/call.ts';
import { GrpcError } from '../../../net/grpc/grpc-error.ts';
import type { Method } from '../../../net/grpc/method.ts';
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
   * One request, one response.
   * @throws {GrpcError}; the reason of the signal
   */
  async call<S extends Service, M extends keyof S['methods'] & string>(
    service: S,
    method: M,
    request: Request<S, M>,
    options: CallOptions,
  ): Promise<Response<S, M>> {
    const { path, codec } = describe(service, method);
    return await callUnary(this.#client, path, codec, request, this.#grpcOptions(options));
  }

  /**
   * One request, a stream of responses. A reader that stops early cancels the call.
   * @throws {GrpcError}; the reason of the signal
   */
  stream<S extends Service, M extends keyof S['methods'] & string>(
    service: S,
    method: M,
    request: Request<S, M>,
    options: CallOptions,
  ): AsyncGenerator<Response<S, M>, void, undefined> {
    const { path, codec } = describe(service, method);
    return callServerStream(this.#client, path, codec, request, this.#grpcOptions(options));
  }

  /**
   * Requests and responses at the same time.
   * @throws the reason of the signal
   */
  open<S extends Service, M extends keyof S['methods'] & string>(
    service: S,
    method: M,
    options: CallOptions,
  ): BidirectionalCall<Request<S, M>, Response<S, M>> {
    const { path, codec } = describe(service, method);
    return openBidirectional(this.#client, path, codec, this.#grpcOptions(options));
  }

  close(): void {
    this.#client.close();
  }

  #grpcOptions({ signal, lease }: CallOptions) {
    const metadata = {
      'containerd-namespace': this.namespace,
      ...(lease !== undefined && { 'containerd-lease': lease }),
    };
    return { clock: this.clock, signal, metadata };
  }
}

/** All of them are in version 1 of their service, in every containerd since 1.0. */
function describe<S extends Service, M extends keyof S['methods'] & string>(service: S, method: M) {
  const { name } = service;
  const codec = service.methods[method] as unknown as Method<Request<S, M>, Response<S, M>>;
  return { path: `/containerd.services.${name.toLowerCase()}.v1.${name}/${codec.name}`, codec };
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
  return error instanceof GrpcError && error.code === status.NOT_FOUND;
}

export function alreadyExists(error: unknown): boolean {
  return error instanceof GrpcError && error.code === status.ALREADY_EXISTS;
}

/** Whether containerd does not answer at the socket, or not yet. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof GrpcError && error.code === status.UNAVAILABLE;
}

/** What an error says by itself; of a failed call, without its code. */
export function plainReasonOf(error: unknown): string {
  return (error instanceof GrpcError && error.details) || reasonOf(error);
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
