import { isIP, type Socket } from 'node:net';
import { checkServerIdentity, createSecureContext, type PeerCertificate } from 'node:tls';
import {
  type ChannelCredentials,
  Client,
  credentials,
  type ChannelOptions as GrpcChannelOptions,
  status,
} from '@grpc/grpc-js';
import type { Clock } from '../../../clock/clock.ts';
import { startDeadline } from '../../../clock/deadline.ts';
import { systemClock } from '../../../clock/system.ts';
import { formatAuthority, splitAuthority } from '../../../net/authority.ts';
import { explainNotYetValid, isNotYetValid } from '../../../net/certificate-time.ts';
import { callServerStream, callUnary } from '../../../net/grpc/call.ts';
import { GrpcError } from '../../../net/grpc/grpc-error.ts';
import type { Method } from '../../../net/grpc/method.ts';
import { addressOfProxy, ProxyError, type ProxyRules, type ProxyTarget } from '../../../net/proxy.ts';
import { trustSystemCertificates } from '../../../net/trust.ts';
import { openTunnel } from '../../../net/tunnel.ts';
import { TransportError } from '../transport.ts';
import { fetchCertificates } from './certificate.ts';
import { TrackedCredentials } from './connections.ts';
import { adviceFor, isPlaintext, mayBeTls, type Spoken } from './failure.ts';
import { type CertificateMemory, checkUnchanged } from './known-certificate.ts';
import { speaksTls } from './speaks-tls.ts';

export interface ChannelOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /**
   * `host:port`. The host is also the name that the server's certificate must have among its
   * subject alternative names.
   */
  readonly authority: string;
  /**
   * HTTP(S) URL of the PEM certificates to trust, and only these; fetched before each connection is
   * made. Those of the first time are kept: others are refused, unless they come over HTTPS.
   * Default: none.
   */
  readonly certificateUrl?: string | undefined;
  /** Keeps the certificates of the URL. Default: the memory of the process. */
  readonly certificateMemory?: CertificateMemory | undefined;
  /** Whether changed certificates of the URL are trusted from now on. Default: false. */
  readonly acceptChangedCertificate?: boolean | undefined;
  /**
   * PEM certificates to trust, and only these (together with those of `certificateUrl`). Default:
   * the system's and Node's own.
   */
  readonly certificateAuthority?: string | undefined;
  /** PEM certificate and key to show to the server. Default: none; no tink server asks for one. */
  readonly clientCertificate?: { readonly certificate: string; readonly key: string } | undefined;
  /** `unverified`: encrypted, with anybody. Default: `verified`. */
  readonly tls?: 'verified' | 'unverified' | 'plaintext' | undefined;
  /** Proxies for the server, with TLS or without it, and for the certificate URL. Default: none. */
  readonly proxy?: ProxyRules | undefined;
  /** Deadline of each call and of each fetch of the certificate, in seconds. Default: 20. */
  readonly rpcTimeoutSeconds?: number | undefined;
  /**
   * Seconds of silence during a call after which the connection is probed. Default: 300, the most
   * often that a Go server takes without closing the connection for "too many pings".
   */
  readonly keepaliveSeconds?: number | undefined;
  /** Largest message to receive, in bytes. Default: 4 MiB, as with gRPC for Go. */
  readonly maxReceiveBytes?: number | undefined;
  /** Largest message to send, in bytes. Default: 4 MiB, the most that tink servers take. */
  readonly maxSendBytes?: number | undefined;
}

/** A call that ended with another status than OK. */
export class RpcError extends TransportError {
  override readonly name = 'RpcError';
  readonly code: status;
  /** Reason from the server or the connection. */
  readonly details: string;

  constructor(method: string, authority: string, error: GrpcError, spoken?: Spoken) {
    const { code, details, message: why } = error;
    super({ what: 'call', target: `${method} at ${authority}`, why, hint: adviceFor(error, spoken), cause: error });
    this.code = code;
    this.details = details;
  }
}

/** Calls to a server, as {@link Channel} makes them over a connection. */
export type RpcChannel = Pick<Channel, 'clock' | 'call' | 'collect' | typeof Symbol.asyncDispose>;

const defaultRpcTimeoutSeconds = 20;

/**
 * Most fields of a message, and most messages of a stream. A workflow of a hundred actions has some
 * thousand fields; to decode this many takes some milliseconds.
 */
const maxFields = 20_000;
const maxStreamedMessages = 1000;

/** So long a server that does not understand us has to show that it speaks TLS. */
const probeTimeoutSeconds = 5;

interface Connection {
  readonly client: Client;
  readonly credentials: TrackedCredentials;
}

/**
 * A connection to a gRPC server, made when first needed and again when broken. Each call ends: by
 * its answer, its deadline or its signal.
 */
export class Channel implements AsyncDisposable {
  /** By which the waits for the server are measured. */
  readonly clock: Clock;
  readonly #options: ChannelOptions;
  readonly #timeoutSeconds: number;
  #connection: Connection | undefined;
  /** What the certificate URL gave last. */
  #trusted: string | undefined;

  constructor(options: ChannelOptions) {
    this.clock = options.clock ?? systemClock;
    this.#options = options;
    this.#timeoutSeconds = options.rpcTimeoutSeconds ?? defaultRpcTimeoutSeconds;
  }

  /**
   * One request, one answer.
   * @param timeoutSeconds deadline. Default: that of the channel.
   * @throws {RpcError} also for the deadline; the reason of `signal` when that is aborted.
   */
  async call<Request, Response>(
    service: string,
    method: Method<Request, Response>,
    request: Request,
    signal: AbortSignal,
    timeoutSeconds = this.#timeoutSeconds,
  ): Promise<Response> {
    const client = await this.#connect(signal);
    const options = { clock: this.clock, timeoutSeconds, signal, maxFields };
    try {
      return await callUnary(client, `/${service}/${method.name}`, method, request, options);
    } catch (error) {
      throw await this.#explain(method.name, error, signal);
    }
  }

  /**
   * One request, a stream of answers that the server ends.
   *
   * @throws {Error} as {@link call}.
   */
  async collect<Request, Response>(
    service: string,
    method: Method<Request, Response>,
    request: Request,
    signal: AbortSignal,
  ): Promise<Response[]> {
    const client = await this.#connect(signal);
    const options = { clock: this.clock, timeoutSeconds: this.#timeoutSeconds, signal, maxFields };
    try {
      const messages: Response[] = [];
      for await (const message of callServerStream(client, `/${service}/${method.name}`, method, request, options)) {
        if (messages.length === maxStreamedMessages)
          throw new GrpcError(status.RESOURCE_EXHAUSTED, `the stream has more than ${maxStreamedMessages} messages`);
        messages.push(message);
      }
      return messages;
    } catch (error) {
      throw await this.#explain(method.name, error, signal);
    }
  }

  get authority(): string {
    return this.#options.authority;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disconnect();
  }

  /** Adds method, server and advice to the error of a call. */
  async #explain(method: string, error: unknown, signal: AbortSignal): Promise<unknown> {
    if (!(error instanceof GrpcError)) return error;
    this.#dropIfBroken(error);
    const explained = isNotYetValid(error)
      ? new GrpcError(error.code, (await explainNotYetValid(error, this.#target, this.clock, signal)).message, {
          cause: error,
        })
      : error;
    return new RpcError(method, this.authority, explained, await this.#spokenInstead(explained, signal));
  }

  async #connect(signal: AbortSignal): Promise<Client> {
    signal.throwIfAborted();
    if (this.#connection) return this.#connection.client;
    const { certificateUrl, tls } = this.#options;
    const fetches = certificateUrl !== undefined && tls !== 'plaintext' && tls !== 'unverified';
    if (fetches) this.#trusted = await this.#fetchTrusted(certificateUrl, signal);
    // Another call may have connected meanwhile.
    this.#connection ??= this.#open();
    return this.#connection.client;
  }

  #open(): Connection {
    const { address, prepare } = this.#way();
    const credentials = new TrackedCredentials(this.#credentials(this.#trusted), prepare);
    return { client: new Client(address, credentials, this.#grpcOptions()), credentials };
  }

  /** Where to connect to, `host:port`, and what makes of that a connection to the server. */
  #way(): { readonly address: string; readonly prepare: ((socket: Socket) => Promise<Socket>) | undefined } {
    const proxy = this.#proxy();
    if (proxy === undefined) return { address: this.authority, prepare: undefined };
    return {
      address: formatAuthority(addressOfProxy(proxy)),
      prepare: (socket) => openTunnel(socket, proxy, this.authority),
    };
  }

  /** What the server speaks, if a call failed because it is not what we speak. */
  async #spokenInstead(error: GrpcError, signal: AbortSignal): Promise<Spoken> {
    if (this.#options.tls !== 'plaintext') return isPlaintext(error) ? 'plaintext' : undefined;
    if (!mayBeTls(error)) return undefined;
    const { address, prepare = async (socket: Socket) => socket } = this.#way();
    const { host, port = 443 } = splitAuthority(address);
    using deadline = startDeadline(this.clock, { seconds: probeTimeoutSeconds, awaited: 'TLS' }, signal);
    const isTls = await speaksTls({ host, port }, prepare, deadline.signal);
    signal.throwIfAborted();
    return isTls ? 'TLS' : undefined;
  }

  /** The same whether TLS is spoken or not, as gRPC for Go has it. */
  #proxy(): URL | undefined {
    try {
      return this.#options.proxy?.(this.#target);
    } catch (error) {
      if (!(error instanceof ProxyError)) throw error;
      const hint = 'change the proxy, or name the server in NO_PROXY';
      throw new TransportError({ what: 'connect to', target: this.authority, why: error.message, hint, cause: error });
    }
  }

  /**
   * The server's certificate as it is now, if it is the one we know; the one we know also if only
   * the place to fetch it from is down.
   */
  async #fetchTrusted(url: string, signal: AbortSignal): Promise<string> {
    const memory = this.#options.certificateMemory;
    const known = this.#trusted ?? (await memory?.read());
    let fetched: Awaited<ReturnType<typeof fetchCertificates>>;
    try {
      const options = {
        clock: this.clock,
        timeoutSeconds: this.#timeoutSeconds,
        proxy: this.#options.proxy ?? (() => undefined),
      };
      fetched = await fetchCertificates(url, options, signal);
    } catch (error) {
      if (known === undefined || !(error instanceof TransportError)) throw error;
      return known;
    }
    const mayChange = fetched.isAuthentic || this.#options.acceptChangedCertificate === true;
    if (known !== undefined && !mayChange) return checkUnchanged(known, fetched.pem, { url, place: memory?.place });
    if (known !== fetched.pem) await memory?.write(fetched.pem);
    return fetched.pem;
  }

  #credentials(trusted: string | undefined): ChannelCredentials {
    const { tls, certificateAuthority, clientCertificate } = this.#options;
    if (tls === 'plaintext') return credentials.createInsecure();
    const only = [trusted, certificateAuthority].filter((pem) => pem !== undefined);
    if (only.length === 0) trustSystemCertificates();
    const context = createSecureContext({
      ...(only.length > 0 && { ca: only }),
      // A leaf alone, signed by a CA that we are not given, is trusted as such (Go, which the
      // server is written for, does so too).
      allowPartialTrustChain: true,
      ...(clientCertificate && { cert: clientCertificate.certificate, key: clientCertificate.key }),
    });
    return credentials.createFromSecureContext(context, {
      rejectUnauthorized: tls !== 'unverified',
      checkServerIdentity: (_name: string, certificate: PeerCertificate) =>
        checkServerIdentity(this.#host, certificate),
    });
  }

  get #target(): ProxyTarget {
    const { host, port = 443 } = splitAuthority(this.authority);
    return { protocol: 'https:', host, port };
  }

  get #host(): string {
    return splitAuthority(this.authority).host;
  }

  #grpcOptions(): GrpcChannelOptions {
    const { keepaliveSeconds = 300, maxReceiveBytes = 4 * 1024 ** 2, maxSendBytes = 4 * 1024 ** 2 } = this.#options;
    return {
      'grpc.keepalive_time_ms': keepaliveSeconds * 1000,
      'grpc.keepalive_timeout_ms': 20_000,
      'grpc.max_receive_message_length': maxReceiveBytes,
      'grpc.max_send_message_length': maxSendBytes,
      // The caller decides about retries; nothing is sent twice.
      'grpc.enable_retries': 0,
      'grpc.service_config_disable_resolution': 1,
      // A new Client means a new connection, not one left by the Client before it.
      'grpc.use_local_subchannel_pool': 1,
      // gRPC reads variables of the environment by rules of its own.
      'grpc.enable_http_proxy': 0,
      // Statistics of each call and connection, for a service that is not offered here.
      'grpc.enable_channelz': 0,
      // Not that of the proxy.
      'grpc.default_authority': this.authority,
      // An address must not be sent as the name of the server (RFC 6066 section 3), which gRPC
      // does; this is the name that sandboxes have.
      'grpc.ssl_target_name_override': isIP(this.#host) === 0 ? this.#host : 'tinkerbell',
    };
  }

  /**
   * Drops a broken connection, so that the next call makes a new one at once, with the certificate
   * of that time. An exceeded deadline is a sign of that too: on a connection whose peer vanished
   * without closing it, every further call would wait until its deadline.
   */
  #dropIfBroken(error: GrpcError): void {
    if (error.code === status.UNAVAILABLE || error.code === status.DEADLINE_EXCEEDED) this.#disconnect();
  }

  #disconnect(): void {
    this.#connection?.client.close();
    this.#connection?.credentials.destroyConnections();
    this.#connection = undefined;
  }
}
