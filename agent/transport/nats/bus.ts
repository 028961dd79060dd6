import type { Socket } from 'node:net';
import { addAbortSignal } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { errors, type NatsConnection, NatsConnectionImpl } from '@nats-io/transport-node';
import { z } from 'zod';
import type { Clock } from '../../../clock/clock.ts';
import { DeadlineError, startDeadline } from '../../../clock/deadline.ts';
import { within } from '../../../clock/within.ts';
import { reasonOf } from '../../../errors/reason.ts';
import { isSameFailure } from '../../../errors/same-failure.ts';
import { formatAuthority, withoutBrackets } from '../../../net/authority.ts';
import { connectTcp } from '../../../net/connect.ts';
import { trustSystemCertificates } from '../../../net/trust.ts';
import { TransportError } from '../transport.ts';
import { connectBounded } from './bounded-transport.ts';

/** Invalid options: a malformed address or subject. */
export class NatsOptionsError extends Error {
  override readonly name = 'NatsOptionsError';
}

/** Address of a NATS server, with credentials. */
export interface Address {
  /** IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** Whether TLS was asked for (`tls://`): then nothing is sent without it. */
  readonly tls: boolean;
  readonly credentials: { readonly user?: string; readonly pass?: string; readonly token?: string };
}

/** How TLS is spoken where it was asked for or the server has it. */
export interface NatsTls {
  /** As `tls://` in the address. */
  readonly required: boolean;
  /** PEM certificates to trust, and only these. Default: those that the machine trusts. */
  readonly certificateAuthority?: string | undefined;
  /** PEM certificate and key to show to the server. */
  readonly clientCertificate?: { readonly certificate: string; readonly key: string } | undefined;
  /** Whether the server's certificate is verified. */
  readonly verify: boolean;
}

/**
 * @param server `host:port`, or a URL as `nats://[user[:password]@]host[:port]` or
 *   `nats://token@host[:port]`; with `tls://` for TLS
 * @throws {NatsOptionsError}
 */
export function parseAddress(server: string): Address {
  const url = URL.parse(server.includes('://') ? server : `nats://${server}`);
  if (url === null || url.hostname === '' || url.port === '0') {
    throw new NatsOptionsError('the NATS server must be given as host:port or as nats://[user:password@]host:port');
  }
  if (url.protocol !== 'nats:' && url.protocol !== 'tls:') {
    throw new NatsOptionsError(`the NATS server must be given as nats:// or tls://, not as ${url.protocol}//`);
  }
  const [user, pass] = [decode(url.username), decode(url.password)];
  const credentials = pass === '' ? { token: user } : { user, pass };
  return {
    host: withoutBrackets(url.hostname),
    port: Number(url.port || 4222),
    tls: url.protocol === 'tls:',
    credentials: user === '' ? {} : credentials,
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    const advice = 'a % must be written as %25';
    throw new NatsOptionsError(`user and password in the address of the NATS server must be URL-encoded: ${advice}`, {
      cause,
    });
  }
}

export interface BusOptions {
  readonly clock: Clock;
  readonly address: Address;
  readonly tls: NatsTls;
  /** What the server calls this connection. */
  readonly name: string;
  readonly listenOn: string;
  readonly publishOn: string;
  readonly onMessage: (content: Uint8Array) => void;
  /** Called once, before a connection is made without TLS. */
  readonly onPlaintext: () => void;
  /** Called with errors from the server, once per reason and connection. */
  readonly onProblem: (text: string) => void;
  readonly onState: (state: 'connected' | 'disconnected') => void;
}

const connectTimeoutSeconds = 5;
const flushTimeoutSeconds = 20;
const drainTimeoutSeconds = 5;
/**
 * The library connects again by the options that it has. After this time without a connection they
 * are made anew: the server may have TLS by now.
 */
const renewAfterSeconds = 20;

/**
 * A connection with one subject to listen on and one to publish on, made when first needed and
 * again, with the subscription, when it breaks.
 */
export class Bus implements AsyncDisposable {
  readonly #options: BusOptions;
  readonly #place: string;
  readonly #stop = new AbortController();
  #connection: NatsConnection | undefined;
  #opening: Promise<NatsConnection> | undefined;
  #watching: Promise<void> = Promise.resolve();
  #isConnected = false;
  /** When the connection was lost. */
  #lostAtSeconds = 0;
  /** From now on nothing is sent without it: a server that seems to have lost it may be another. */
  #hasSpokenTls = false;
  #isPlaintextKnown = false;
  #refusal: Error | undefined;
  #lastProblem = '';

  constructor(options: BusOptions) {
    this.#options = options;
    this.#place = `the NATS server ${formatAuthority(options.address)}`;
  }

  get listenOn(): string {
    return this.#options.listenOn;
  }

  /**
   * @throws {TransportError} there is no connection at the moment. The reason of `signal` when that
   *   is aborted.
   */
  async connect(signal: AbortSignal): Promise<NatsConnection> {
    signal.throwIfAborted();
    const connection = this.#connection;
    if (connection?.isClosed() === false) {
      if (this.#isConnected) return connection;
      if (this.#options.clock.monotonicSeconds() - this.#lostAtSeconds < renewAfterSeconds)
        throw new TransportError({ what: 'use', target: this.#place, why: 'the connection is lost; reconnecting' });
      const watching = this.#watching;
      this.#connection = undefined;
      await this.#close(connection);
      await watching;
    }
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return await this.#within(2 * connectTimeoutSeconds + flushTimeoutSeconds, this.#opening, signal);
  }

  /**
   * Returns when the server has the message.
   *
   * @throws {Error} as {@link connect}.
   */
  async publish(message: unknown, signal: AbortSignal): Promise<void> {
    const { publishOn } = this.#options;
    const connection = await this.connect(signal);
    this.#refusal = undefined;
    try {
      connection.publish(publishOn, JSON.stringify(message));
      await this.#flush(connection, signal);
      // The library tells of a refusal a few turns later than of the answer that came after it.
      await setImmediate();
      if (this.#refusal !== undefined) throw this.#refusal;
    } catch (error) {
      signal.throwIfAborted();
      const target = `${publishOn} at ${this.#place}`;
      throw new TransportError({ what: 'publish on', target, why: reasonOf(error), cause: error });
    }
  }

  /** What is on its way is waited for, if there is a connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the connection is closed'));
    await this.#opening?.catch(() => undefined);
    const connection = this.#connection;
    if (connection !== undefined) await this.#close(connection);
    await this.#watching;
  }

  async #open(): Promise<NatsConnection> {
    const { address, name, clock } = this.#options;
    try {
      const server = await greeting(address, clock, this.#stop.signal);
      const tls = this.#tlsFor(server);
      const connection = await connectBounded({
        ...address.credentials,
        ...(tls !== undefined && { tls }),
        name,
        servers: formatAuthority(address),
        timeout: connectTimeoutSeconds * 1000,
        maxReconnectAttempts: -1,
        // So that machines which lost their server in the same second do not come back in the same
        // second.
        reconnectJitter: 1000,
        // Credentials may be put right on the server.
        ignoreAuthErrorAbort: true,
        pingInterval: 20_000,
      });
      this.#hasSpokenTls ||= tls !== undefined;
      this.#watching = this.#watch(connection);
      await this.#subscribe(connection);
      this.#connection = connection;
      this.#setConnected(true);
      return connection;
    } catch (error) {
      throw new TransportError({ what: 'connect to', target: this.#place, why: reasonOf(error), cause: error });
    }
  }

  /**
   * With these options the library takes no connection without TLS, nor does it send anything on
   * one, also when it connects again. `undefined`: plaintext.
   */
  #tlsFor({ tls_required: isRequired, tls_available: isAvailable }: ServerInfo) {
    const { address, tls } = this.#options;
    const isAskedFor = address.tls || tls.required || this.#hasSpokenTls;
    if (!isRequired && !isAvailable) {
      if (isAskedFor) throw new Error('the server does not support TLS, which is required');
      if (!this.#isPlaintextKnown) this.#options.onPlaintext();
      this.#isPlaintextKnown = true;
      return undefined;
    }
    if (tls.certificateAuthority === undefined) trustSystemCertificates();
    return {
      ...(tls.certificateAuthority !== undefined && { ca: tls.certificateAuthority }),
      allowPartialTrustChain: true,
      ...(tls.clientCertificate && { cert: tls.clientCertificate.certificate, key: tls.clientCertificate.key }),
      rejectUnauthorized: tls.verify,
      // The library names no address to check, so that Node would look for "localhost" in the
      // certificate.
      checkServerIdentity: (_name: string, certificate: PeerCertificate) =>
        checkServerIdentity(address.host, certificate),
    };
  }

  /** Returns when the server has the subscription: what is sent from now on arrives. */
  async #subscribe(connection: NatsConnection): Promise<void> {
    const { listenOn, onMessage } = this.#options;
    let refusal: Error | undefined;
    connection.subscribe(listenOn, {
      callback: (error, message) => {
        if (error === null) return onMessage(message.data);
        refusal = error;
        // A subscription that was refused is not made again by itself.
        if (this.#connection === connection) void this.#close(connection);
      },
    });
    try {
      await this.#flush(connection, this.#stop.signal);
      if (refusal !== undefined) throw refusal;
    } catch (error) {
      await this.#close(connection);
      throw error;
    }
  }

  async #flush(connection: NatsConnection, signal: AbortSignal): Promise<void> {
    try {
      await this.#within(flushTimeoutSeconds, connection.flush(), signal);
    } catch (error) {
      // A connection on which nothing comes back would only be found out by its next pings.
      if (error instanceof DeadlineError) await connection.reconnect();
      throw error;
    }
  }

  async #watch(connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) {
      if (status.type === 'reconnect') this.#setConnected(true);
      else if (status.type === 'disconnect' || status.type === 'close') this.#setConnected(false);
      else if (status.type === 'error') this.#hear(status.error);
    }
  }

  #hear(error: Error): void {
    if (error instanceof errors.PermissionViolationError && error.operation === 'publish') this.#refusal = error;
    else if (!isSameFailure(error.message, this.#lastProblem))
      this.#options.onProblem(`${this.#place} reports: ${error.message}`);
    this.#lastProblem = error.message;
  }

  #setConnected(isConnected: boolean): void {
    if (isConnected === this.#isConnected) return;
    this.#isConnected = isConnected;
    if (isConnected) this.#lastProblem = '';
    else this.#lostAtSeconds = this.#options.clock.monotonicSeconds();
    this.#options.onState(isConnected ? 'connected' : 'disconnected');
  }

  /**
   * Stops waiting, and not what is waited for.
   *
   * @throws {DeadlineError}; the reason of `signal` when that is aborted.
   */
  #within<T>(seconds: number, work: Promise<T>, signal: AbortSignal): Promise<T> {
    // Should it not even begin to wait.
    work.catch(() => {});
    return within(this.#options.clock, { seconds, awaited: 'answer' }, signal, () => work);
  }

  async #close(connection: NatsConnection): Promise<void> {
    // Without a connection there is nothing to wait for: the library would wait for the next one.
    if (this.#isConnected) await this.#within(drainTimeoutSeconds, connection.drain(), never).catch(() => undefined);
    await connection.close();
    // The library leaves a socket open on which a connection was being made, and that keeps the
    // process.
    if (connection instanceof NatsConnectionImpl) connection.protocol.transport.discard();
  }
}

const never = new AbortController().signal;

/** First message of a server (NATS client protocol, INFO). */
const serverInfo = z.looseObject({
  tls_required: z.boolean().default(false),
  tls_available: z.boolean().default(false),
});

/** INFO names the servers of a cluster; a kilobyte is usual. */
const maxGreetingCharacters = 64 * 1024;

type ServerInfo = z.output<typeof serverInfo>;

/**
 * Returns the INFO of a NATS server. The library's first attempt to connect cannot be stopped, and
 * without an answer it never closes its socket; so it is only made after the server has answered
 * here.
 */
async function greeting(address: Address, clock: Clock, signal: AbortSignal): Promise<ServerInfo> {
  using deadline = startDeadline(clock, { seconds: connectTimeoutSeconds, awaited: 'answer' }, signal);
  let socket: Socket | undefined;
  try {
    socket = await connectTcp(address, deadline.signal, { clock });
    addAbortSignal(deadline.signal, socket);
    let text = '';
    for await (const chunk of socket) {
      text += String(chunk);
      if (text.length > maxGreetingCharacters) throw new Error('the peer is not a NATS server: its INFO has no end');
      // NATS client protocol: the server speaks first.
      if (!'INFO '.startsWith(text.slice(0, 5))) throw new Error('the peer is not a NATS server');
      const [, json] = /^INFO (.*)\r?\n/.exec(text) ?? [];
      if (json !== undefined) return serverInfo.parse(JSON.parse(json));
    }
    throw new Error('the connection was closed without an answer');
  } catch (error) {
    signal.throwIfAborted();
    throw deadline.isOver ? deadline.signal.reason : error;
  } finally {
    socket?.destroy();
  }
}
