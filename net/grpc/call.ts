import { type Client, type ClientReadableStream, Metadata, status } from '@grpc/grpc-js';
import type { Clock } from '../../clock/clock.ts';
import { type Deadline, startDeadline } from '../../clock/deadline.ts';
import { reasonOf } from '../../errors/reason.ts';
import { BoundedReader } from './bounded-reader.ts';
import { GrpcError, toGrpcError } from './grpc-error.ts';
import type { Method } from './method.ts';

export interface CallOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Deadline of the whole call. Default: none. */
  readonly timeoutSeconds?: number | undefined;
  /** Sent with the request. Default: nothing. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** A response with more fields is an error, those of nested messages included. Default: none. */
  readonly maxFields?: number | undefined;
}

/**
 * One request, one response.
 *
 * @param path `/package.Service/Method`
 * @throws {GrpcError} also after the deadline, with the status DEADLINE_EXCEEDED; the reason of the
 * signal
 */
export async function callUnary<Request, Response>(
  client: Client,
  path: string,
  method: Method<Request, Response>,
  request: Request,
  options: CallOptions,
): Promise<Response> {
  options.signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Response>();
  const { serialize, deserialize } = codecOf(method, options);
  const call = client.makeUnaryRequest(
    path,
    serialize,
    deserialize,
    request,
    metadataOf(options),
    (error, response) => {
      if (error) reject(error);
      else if (response !== undefined) resolve(response);
    },
  );
  using guard = new CallGuard(call, options);
  try {
    return await promise;
  } catch (error) {
    throw guard.reasonFor(error);
  }
}

/**
 * One request, a stream of responses that the server ends. Returning early cancels the call.
 *
 * @param path `/package.Service/Method`
 * @throws {GrpcError} as {@link callUnary}
 */
export async function* callServerStream<Request, Response>(
  client: Client,
  path: string,
  method: Method<Request, Response>,
  request: Request,
  options: CallOptions,
): AsyncGenerator<Response, void, undefined> {
  options.signal.throwIfAborted();
  const { serialize, deserialize } = codecOf(method, options);
  const call = client.makeServerStreamRequest(path, serialize, deserialize, request, metadataOf(options));
  using guard = new CallGuard(call, options);
  yield* responsesOf(call, guard);
}

/** A call in which both sides send as they like. Disposing of it cancels it if it has not ended. */
export interface BidirectionalCall<Request, Response> extends Disposable {
  /** Sends a request. It is buffered while the server does not take it. */
  send(request: Request): void;
  /**
   * In order, once. Returning early cancels the call.
   *
   * @throws {GrpcError} as {@link callUnary}
   */
  readonly responses: AsyncGenerator<Response, void, undefined>;
}

/**
 * Opens a call with a stream of requests and one of responses.
 *
 * @param path `/package.Service/Method`
 * @throws the reason of the signal
 */
export function openBidirectional<Request, Response>(
  client: Client,
  path: string,
  method: Method<Request, Response>,
  options: CallOptions,
): BidirectionalCall<Request, Response> {
  options.signal.throwIfAborted();
  const { serialize, deserialize } = codecOf(method, options);
  const call = client.makeBidiStreamRequest(path, serialize, deserialize, metadataOf(options));
  const guard = new CallGuard(call, options);
  // The call may fail while the responses are not read.
  let failure: { readonly error: unknown } | undefined;
  call.on('error', (error: unknown) => {
    failure = { error };
  });
  async function* responses(): AsyncGenerator<Response, void, undefined> {
    yield* responsesOf(call, guard);
    if (failure !== undefined) throw guard.reasonFor(failure.error);
  }
  return {
    send: (request) => void call.write(request),
    responses: responses(),
    [Symbol.dispose]: () => {
      guard[Symbol.dispose]();
      call.cancel();
    },
  };
}

async function* responsesOf<Response>(
  call: ClientReadableStream<Response>,
  guard: CallGuard,
): AsyncGenerator<Response, void, undefined> {
  try {
    for await (const response of call) yield response;
  } catch (error) {
    throw guard.reasonFor(error);
  } finally {
    call.cancel();
  }
}

/** Cancels a call when its signal is aborted or its time is over. */
class CallGuard implements Disposable {
  readonly #signal: AbortSignal;
  readonly #deadline: Deadline | undefined;
  readonly #cancel: () => void;

  constructor(call: { cancel(): void }, { clock, signal, timeoutSeconds }: CallOptions) {
    this.#signal = signal;
    // Most calls of an engine have none: they go without a signal and a timer of their own.
    if (timeoutSeconds !== undefined)
      this.#deadline = startDeadline(clock, { seconds: timeoutSeconds, awaited: 'answer' }, signal);
    this.#cancel = () => call.cancel();
    this.#cancelling.addEventListener('abort', this.#cancel, { once: true });
    if (this.#cancelling.aborted) this.#cancel();
  }

  /** What to throw for an error of the call. */
  reasonFor(error: unknown): unknown {
    if (this.#signal.aborted) return this.#signal.reason;
    if (!this.#deadline?.isOver) return toGrpcError(error);
    const cause: unknown = this.#deadline.signal.reason;
    return new GrpcError(status.DEADLINE_EXCEEDED, reasonOf(cause), { cause });
  }

  [Symbol.dispose](): void {
    this.#cancelling.removeEventListener('abort', this.#cancel);
    this.#deadline?.[Symbol.dispose]();
  }

  get #cancelling(): AbortSignal {
    return this.#deadline?.signal ?? this.#signal;
  }
}

/**
 * The deadline goes to the server (gRPC over HTTP/2, `Timeout`: at most eight digits). gRPC's own
 * deadline is not used, because it is measured by the library's clock.
 */
function metadataOf({ metadata = {}, timeoutSeconds }: CallOptions): Metadata {
  const sent = new Metadata();
  for (const [name, value] of Object.entries(metadata)) sent.set(name, value);
  if (timeoutSeconds !== undefined)
    sent.set('grpc-timeout', `${Math.min(Math.ceil(timeoutSeconds * 1000), 99_999_999)}m`);
  return sent;
}

function codecOf<Request, Response>(
  { requestType, responseType }: Method<Request, Response>,
  { maxFields }: Pick<CallOptions, 'maxFields'>,
) {
  return {
    serialize: (message: Request) => {
      const bytes = requestType.encode(message).finish();
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    },
    deserialize: (bytes: Buffer) =>
      responseType.decode(maxFields === undefined ? bytes : new BoundedReader(bytes, maxFields)),
  };
}
