import { status } from '@grpc/grpc-js';
import type { Action, Event } from '../../action/action.ts';
import { type Acknowledgement, type CancelState, type Next, type Transport, TransportError } from '../transport.ts';
import { Channel, type ChannelOptions, RpcError } from './channel.ts';
import { type CurrentTransportOptions, createCurrentTransport } from './current.ts';
import { detectDialect, isUnimplemented } from './detect.ts';
import type { Dialect } from './dialect.ts';
import { createLegacyTransport } from './legacy.ts';
import type { WorkflowDataOptions } from './workflow-data.ts';

export interface ServerTransportOptions extends Omit<ChannelOptions, 'tls'>, Omit<CurrentTransportOptions, 'channel'> {
  /**
   * Worker ID: the UUID of the hardware (up to v0.8 with PostgreSQL), or the worker of the
   * template.
   */
  readonly workerId: string;
  /** Default: `auto`, detected, and detected again when the server was replaced. */
  readonly dialect?: Dialect | 'auto' | undefined;
  /**
   * Default: as the generation's own worker: `current` plaintext, all others TLS, and TLS wherever
   * a certificate is named. `auto`: TLS, or plaintext if the server has no TLS; once it has
   * answered with TLS, never again plaintext.
   */
  readonly tls?: boolean | undefined;
  /** Whether the server's certificate is verified. Default: true. */
  readonly verify?: boolean | undefined;
  /** Of `v0.1` to `v0.8`: see {@link WorkflowDataOptions}. Default: data is not carried. */
  readonly workflowData?: WorkflowDataOptions | undefined;
  /** Called with the dialect when it is detected and when it has changed. */
  readonly onDialect?: ((dialect: Dialect) => void) | undefined;
}

/**
 * A {@link Transport} to a server of any protocol version. Nothing is connected before the first
 * call.
 */
export function createServerTransport(options: ServerTransportOptions): Transport {
  return new ServerTransport(options);
}

type Security = NonNullable<ChannelOptions['tls']>;

interface Session {
  readonly dialect: Dialect;
  readonly channel: Channel;
  readonly transport: Transport;
}

class ServerTransport implements Transport {
  readonly #options: ServerTransportOptions;
  readonly #channels = new Map<Security, Channel>();
  /** In the order in which they are tried. */
  #securities: readonly [Security, Security?];
  #session: Session | undefined;
  #lastDialect: Dialect | undefined;

  constructor(options: ServerTransportOptions) {
    this.#options = options;
    this.#securities = securitiesFor(options);
  }

  next(signal: AbortSignal): Promise<Next> {
    return this.#withSession(({ transport }) => transport.next(signal), signal);
  }

  async report(event: Event, signal: AbortSignal): Promise<Acknowledgement> {
    const answer = await this.#withSession(({ transport }) => transport.report(event, signal), signal);
    if (answer.kind !== 'obsolete' || !(await this.#hasChanged(signal))) return answer;
    // v0.9 to v0.12 have a report of the same name with another message, and refuse this one as
    // unknown instead of unimplemented.
    this.#session = undefined;
    return await this.#withSession(({ transport }) => transport.report(event, signal), signal);
  }

  checkCancelled(action: Action, signal: AbortSignal): Promise<CancelState> {
    return this.#withSession(({ transport }) => transport.checkCancelled(action, signal), signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const channel of this.#channels.values()) await channel[Symbol.asyncDispose]();
  }

  /**
   * Works in a session of the server's dialect; once more if the server was replaced by one of
   * another dialect.
   */
  async #withSession<Result>(work: (session: Session) => Promise<Result>, signal: AbortSignal): Promise<Result> {
    const isNew = this.#session === undefined;
    this.#session ??= await this.#connect(signal);
    try {
      return await work(this.#session);
    } catch (error) {
      if (this.#isFixed) throw error;
      // A server that spoke plaintext may have TLS after a restart.
      if (isUnimplemented(error) || (isUnavailable(error) && this.#securities.length > 1)) this.#session = undefined;
      if (!isUnimplemented(error)) throw error;
      if (!isNew) return await this.#withSession(work, signal);
      throw new TransportError({
        what: 'get work from',
        target: this.#options.authority,
        why: 'it speaks no protocol version of tink v0.1 to v0.12 and not that of later Tinkerbell servers',
        hint: 'is it another service?',
        cause: error,
      });
    }
  }

  get #isFixed(): boolean {
    return (this.#options.dialect ?? 'auto') !== 'auto';
  }

  async #connect(signal: AbortSignal): Promise<Session> {
    const [security, fallback] = this.#securities;
    try {
      return await this.#openSession(security, signal);
    } catch (error) {
      if (fallback === undefined || !hasNoTls(error)) throw error;
      return await this.#openSession(fallback, signal).catch(() => {
        signal.throwIfAborted();
        // The reason was not a lack of TLS.
        throw error;
      });
    }
  }

  /** Finds the dialect, unless it is configured, and the adapter for it. */
  async #openSession(security: Security, signal: AbortSignal): Promise<Session> {
    const { dialect: wanted = 'auto', workerId, onDialect } = this.#options;
    const channel = this.#channels.get(security) ?? new Channel({ ...this.#options, tls: security });
    this.#channels.set(security, channel);
    const dialect = wanted === 'auto' ? await detectDialect(channel, workerId, signal) : wanted;
    if (security !== 'plaintext') this.#securities = [security];
    if (dialect !== this.#lastDialect) onDialect?.(dialect);
    this.#lastDialect = dialect;
    const transport =
      dialect === 'current'
        ? createCurrentTransport({ ...this.#options, channel })
        : createLegacyTransport({ ...this.#options, channel, dialect });
    return { dialect, channel, transport };
  }

  async #hasChanged(signal: AbortSignal): Promise<boolean> {
    if (this.#isFixed || this.#session?.dialect !== 'current') return false;
    return (await detectDialect(this.#session.channel, this.#options.workerId, signal)) !== 'current';
  }
}

function securitiesFor(options: ServerTransportOptions): [Security, Security?] {
  const { tls, verify = true, dialect = 'auto', certificateUrl, certificateAuthority, clientCertificate } = options;
  const encrypted = verify ? 'verified' : 'unverified';
  const isNamed = (certificateUrl ?? certificateAuthority ?? clientCertificate) !== undefined;
  if (tls === false) return ['plaintext'];
  if (tls === true || isNamed) return [encrypted];
  if (dialect === 'current') return ['plaintext'];
  return dialect === 'auto' ? [encrypted, 'plaintext'] : [encrypted];
}

function isUnavailable(error: unknown): boolean {
  return error instanceof RpcError && error.code === status.UNAVAILABLE;
}

/** The peer does not answer TLS with TLS. An untrusted certificate is another case. */
function hasNoTls(error: unknown): boolean {
  return (
    error instanceof RpcError &&
    isUnavailable(error) &&
    /wrong version number|disconnected before secure TLS|ECONNRESET/.test(error.details)
  );
}
