import type { Action, Event } from '../../action/action.ts';
import { type Acknowledgement, type CancelState, type Next, type Transport, TransportError } from '../transport.ts';
import { Channel, type ChannelOptions, type RpcChannel } from './channel.ts';
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
   * a certificate is named. `auto`: TLS. That a server has no TLS is no reason for plaintext:
   * anyone in the network can make it seem so.
   */
  readonly tls?: boolean | undefined;
  /** Whether the server's certificate is verified. Default: true. */
  readonly verify?: boolean | undefined;
  /** Of `v0.1` to `v0.8`: see {@link WorkflowDataOptions}. Default: data is not carried. */
  readonly workflowData?: WorkflowDataOptions | undefined;
  /** Called with the dialect when it is detected and when it has changed. */
  readonly onDialect?: ((dialect: Dialect) => void) | undefined;
  /** Makes the channel, which is closed with the transport. Default: a {@link Channel}. */
  readonly openChannel?: ((options: ChannelOptions) => RpcChannel) | undefined;
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
  readonly channel: RpcChannel;
  readonly transport: Transport;
}

class ServerTransport implements Transport {
  readonly #options: ServerTransportOptions;
  #channel: RpcChannel | undefined;
  readonly #security: Security;
  #session: Session | undefined;
  #lastDialect: Dialect | undefined;

  constructor(options: ServerTransportOptions) {
    this.#options = options;
    this.#security = securityFor(options);
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
    await this.#channel?.[Symbol.asyncDispose]();
  }

  /**
   * Works in a session of the server's dialect; once more if the server was replaced by one of
   * another dialect.
   */
  async #withSession<Result>(work: (session: Session) => Promise<Result>, signal: AbortSignal): Promise<Result> {
    const isNew = this.#session === undefined;
    this.#session ??= await this.#openSession(signal);
    try {
      return await work(this.#session);
    } catch (error) {
      if (this.#isFixed) throw error;
      if (!isUnimplemented(error)) throw error;
      this.#session = undefined;
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

  /** Finds the dialect, unless it is configured, and the adapter for it. */
  async #openSession(signal: AbortSignal): Promise<Session> {
    const { dialect: wanted = 'auto', workerId, onDialect, openChannel } = this.#options;
    const options = { ...this.#options, tls: this.#security };
    this.#channel ??= openChannel?.(options) ?? new Channel(options);
    const channel = this.#channel;
    const dialect = wanted === 'auto' ? await detectDialect(channel, workerId, signal) : wanted;
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

/** How the connection to the server is protected; see {@link ServerTransportOptions.tls}. */
export function securityFor(
  options: Pick<
    ServerTransportOptions,
    'tls' | 'verify' | 'dialect' | 'certificateUrl' | 'certificateAuthority' | 'clientCertificate'
  >,
): Security {
  const { tls, verify = true, dialect = 'auto', certificateUrl, certificateAuthority, clientCertificate } = options;
  const isNamed = (certificateUrl ?? certificateAuthority ?? clientCertificate) !== undefined;
  if (tls === false || (tls === undefined && !isNamed && dialect === 'current')) return 'plaintext';
  return verify ? 'verified' : 'unverified';
}
