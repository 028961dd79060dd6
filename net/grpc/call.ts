import { type Client, Metadata, status } from '@grpc/grpc-js';
import type { Clock } from '../../clock/clock.ts';
import { type Deadline, startDeadline } from '../../clock/deadline.ts';
import { reasonOf } from '../../errors/reason.ts';
import { GrpcError, toGrpcError } from './grpc-error.ts';
import type { Method } from './method.ts';

export interface CallOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Deadline of the whole call. Default: none. */
  readonly timeoutSeconds?: number | undefined;
  /** Sent with the request. Default: nothing. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
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
  const { serialize, deserialize } = codecOf(method);
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
  const { serialize, deserialize } = codecOf(method);
  const call = client.makeServerStreamRequest(path, serialize, deserialize, request, metadataOf(options));
  using guard = new CallGuard(call, options);
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
  readonly #options: CallOptions;
  readonly #deadline: Deadline;
  readonly #cancel: () => void;

  constructor(call: { cancel(): void }, options: CallOptions) {
    this.#options = options;
    this.#deadline = startDeadline(options.clock, limitOf(options), options.signal);
    this.#cancel = () => call.cancel();
    this.#deadline.signal.addEventListener('abort', this.#cancel, { once: true });
    if (this.#deadline.signal.aborted) this.#cancel();
  }

  /** What to throw for an error of the call. */
  reasonFor(error: unknown): unknown {
    const { signal } = this.#options;
    if (signal.aborted) return signal.reason;
    if (!this.#deadline.isOver) return toGrpcError(error);
    const cause: unknown = this.#deadline.signal.reason;
    return new GrpcError(status.DEADLINE_EXCEEDED, reasonOf(cause), { cause });
  }

  [Symbol.dispose](): void {
    this.#deadline.signal.removeEventListener('abort', this.#cancel);
    this.#deadline[Symbol.dispose]();
  }
}

function limitOf({ timeoutSeconds = Number.POSITIVE_INFINITY }: CallOptions) {
  return { seconds: timeoutSeconds, awaited: 'answer' };
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

function codecOf<Request, Response>({ requestType, responseType }: Method<Request, Response>) {
  return {
    serialize: (message: Request) => {
      const bytes = requestType.encode(message).finish();
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    },
    deserialize: (bytes: Buffer) => responseType.decode(bytes),
  };
}
