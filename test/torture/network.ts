/**
 * The way between agent and server, in place of `Channel` and the sockets below it. Reproduced:
 * delays, lost requests and answers with a connection that breaks or that stays silent until the
 * deadline, requests that arrive after the client has given up, requests that arrive twice,
 * refusals by what is in between, partitions. Not reproduced: TLS, proxies, fetching certificates.
 */
import { status } from '@grpc/grpc-js';
import { type RpcChannel, RpcError } from '../../agent/transport/grpc/channel.ts';
import type { Clock } from '../../clock/clock.ts';
import { GrpcError } from '../../net/grpc/grpc-error.ts';
import type { Method } from '../../net/grpc/method.ts';
import { type Chance, logarithmic, type Odds } from './chance.ts';
import type { Life } from './life.ts';
import { type SimulatedServer, StatusError } from './server.ts';

export interface NetworkOptions {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly severity: number;
  readonly server: SimulatedServer;
  readonly tell: (text: string) => void;
  /** A request arrives whose sender does not wait for it any more, or that arrived before. */
  readonly onStale: () => void;
  readonly onRequest: (method: string) => void;
  /** Kills the agent, or cuts the power. */
  readonly kill: (how: 'agent' | 'power', why: string) => void;
}

/** Without the cost of an exception for each call. */
const gone = new Error('the client is gone');
const latencySeconds = 0.005;
const refusals = [status.UNAVAILABLE, status.INTERNAL, status.RESOURCE_EXHAUSTED, status.UNAUTHENTICATED] as const;

export class Network {
  /** `silent`: nothing arrives, and nothing says so. */
  state: 'up' | 'silent' = 'up';
  readonly #options: NetworkOptions;
  readonly #odds: Odds;
  readonly #reportOdds: Odds;
  /** Trouble comes in series: of an agent that has just started. */
  readonly #firstReportOdds: Odds;

  constructor(options: NetworkOptions) {
    this.#options = options;
    const { severity } = options;
    this.#odds = [
      ['request lost', 0.01 * severity],
      ['answer lost', 0.02 * severity],
      ['request silently lost', 0.004 * severity],
      ['answer silently lost', 0.006 * severity],
      ['slow', 0.01 * severity],
      ['twice', 0.003 * severity],
      ['refused', 0.006 * severity],
    ];
    this.#reportOdds = [...this.#odds, ['agent killed', 0.01 * severity], ['power lost', 0.01 * severity]];
    this.#firstReportOdds = [...this.#odds, ['agent killed', 0.05 * severity], ['power lost', 0.1 * severity]];
  }

  channelFor(life: Life): RpcChannel {
    const exchange = async <Request, Response>(
      service: string,
      method: Method<Request, Response>,
      request: Request,
      signal: AbortSignal,
      timeoutSeconds: number,
    ): Promise<Response[]> => {
      signal.throwIfAborted();
      const bytes = Buffer.from(method.requestType.encode(request).finish());
      const path = `/${service}/${method.name}`;
      try {
        const answers = await life.guard(this.#exchange(life, path, method.name, bytes, signal, timeoutSeconds));
        return answers.map((answer) => method.responseType.decode(answer));
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
        throw new RpcError(method.name, 'server:42113', new GrpcError(error.code, error.message));
      }
    };
    return {
      clock: life.clock,
      async call(service, method, request, signal, timeoutSeconds = 20) {
        const [response] = await exchange(service, method, request, signal, timeoutSeconds);
        if (response === undefined) throw new Error('a unary call has one answer');
        return response;
      },
      collect: (service, method, request, signal) => exchange(service, method, request, signal, 20),
      [Symbol.asyncDispose]: async () => {},
    };
  }

  async #exchange(
    life: Life,
    path: string,
    name: string,
    bytes: Buffer,
    signal: AbortSignal,
    timeoutSeconds: number,
  ): Promise<readonly Uint8Array[]> {
    const never = new Promise<never>(() => {});
    if (!life.isAlive) return await never;
    const { clock, chance, tell, onRequest, kill } = this.#options;
    onRequest(name);
    const isYoung = clock.monotonicSeconds() - life.startedAtSeconds < 10;
    const reportOdds = isYoung ? this.#firstReportOdds : this.#reportOdds;
    const deviation = chance.at(`rpc ${name}`, name === 'ReportActionStatus' ? reportOdds : this.#odds);
    if (deviation !== undefined) tell(`${name}: ${deviation.what}`);
    if (deviation?.what === 'agent killed' || deviation?.what === 'power lost') {
      kill(deviation.what === 'power lost' ? 'power' : 'agent', `before ${name}`);
      return await never;
    }
    const { promise, resolve, reject } = Promise.withResolvers<readonly Uint8Array[]>();
    const cancelled = new AbortController();
    const abort = () => {
      cancelled.abort(gone);
      reject(signal.reason);
    };
    signal.addEventListener('abort', abort, { once: true });
    using _ = clock.schedule(timeoutSeconds, () => {
      // The server of a silent connection does not learn of it.
      if (this.state === 'up') cancelled.abort(gone);
      reject(new StatusError(status.DEADLINE_EXCEEDED, `no answer within ${timeoutSeconds} s`));
    });
    life.onDeath(() => cancelled.abort(gone));
    this.#send(path, bytes, cancelled, deviation, { resolve, reject });
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  #send(
    path: string,
    bytes: Buffer,
    cancelled: AbortController,
    deviation: { readonly what: string; readonly size: number } | undefined,
    settle: { resolve(answers: readonly Uint8Array[]): void; reject(error: Error): void },
  ): void {
    const { clock, server, onStale, tell } = this.#options;
    const { what, size = 0 } = deviation ?? {};
    const after = (seconds: number, callback: () => void) => void clock.schedule(seconds, callback);
    const broken = () => settle.reject(new StatusError(status.UNAVAILABLE, 'connection reset by peer'));
    if (this.state === 'silent' || what === 'request silently lost') return;
    if (what === 'request lost') {
      after(latencySeconds, broken);
      return;
    }
    if (what === 'refused') {
      const code = refusals[Math.floor(size * refusals.length)] ?? status.UNAVAILABLE;
      after(latencySeconds, () => settle.reject(new StatusError(code, 'the proxy refuses')));
      return;
    }
    const arrive = async (isStale: boolean) => {
      if (!server.isUp) {
        if (!isStale) settle.reject(new StatusError(status.UNAVAILABLE, 'connect ECONNREFUSED'));
        return;
      }
      if (isStale) {
        tell(`a stale request arrives: ${path.slice(path.lastIndexOf('/') + 1)}`);
        if (path.endsWith('/ReportActionStatus')) onStale();
      }
      try {
        // One that was delayed on the way is read from the connection before its end is.
        const answers = await server.handle(path, bytes, isStale ? new AbortController().signal : cancelled.signal);
        if (what === 'answer lost') broken();
        else if (what !== 'answer silently lost' && this.state === 'up') settle.resolve(answers);
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
        if (what === 'answer lost') broken();
        else if (what !== 'answer silently lost' && this.state === 'up') settle.reject(error);
      }
    };
    if (what === 'slow') {
      after(logarithmic(0.05, 120, size), () => void arrive(cancelled.signal.aborted));
      return;
    }
    if (what === 'twice') after(logarithmic(0.01, 600, size), () => void arrive(true));
    after(latencySeconds, () => void arrive(false));
  }
}
