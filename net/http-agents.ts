import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import type { Clock } from '../clock/clock.ts';
import { formatAuthority, withoutBrackets } from './authority.ts';
import { connectTcp } from './connect.ts';
import { addressOfProxy, isSocks, type ProxyRules, targetOf } from './proxy.ts';
import { openTunnel } from './tunnel.ts';

export interface HttpAgentsOptions {
  readonly clock: Clock;
  readonly proxy: ProxyRules;
  /**
   * TLS of the connections to servers. Called once, when the first is needed: to read all the
   * authorities that the machine trusts takes a while.
   */
  readonly tls: () => https.AgentOptions;
}

/**
 * Agents for Node's HTTP client that keep connections open until they are disposed of. Our rules
 * decide for each URL which proxy is used, if any; Node's own rules know neither networks nor
 * loopback addresses. Connections are made by {@link connectTcp}.
 */
export class HttpAgents implements Disposable {
  readonly #options: HttpAgentsOptions;
  /** By protocol of the server and URL of the proxy. */
  readonly #agents = new Map<string, http.Agent>();
  #tls: https.AgentOptions | undefined;

  constructor(options: HttpAgentsOptions) {
    this.#options = options;
  }

  for(url: URL): http.Agent {
    const proxy = this.#options.proxy(targetOf(url));
    const key = `${url.protocol} ${proxy?.href ?? ''}`;
    const agent = this.#agents.get(key) ?? this.#create(url.protocol === 'https:', proxy);
    this.#agents.set(key, agent);
    return agent;
  }

  /** One that makes a connection for each request. */
  newFor(url: URL): http.Agent {
    return this.#create(url.protocol === 'https:', this.#options.proxy(targetOf(url)), false);
  }

  [Symbol.dispose](): void {
    for (const agent of this.#agents.values()) agent.destroy();
  }

  #create(isSecure: boolean, proxy: URL | undefined, keepAlive = true): http.Agent {
    const { clock } = this.#options;
    if (!isSecure) return new PlainAgent({ keepAlive }, clock, proxy);
    this.#tls ??= this.#options.tls();
    return new SecureAgent({ ...this.#tls, keepAlive }, clock, proxy);
  }
}

/** What the agent learns about a request besides Node's own options. */
export interface ConnectionOptions {
  /** Ends the attempt to connect. */
  readonly connectSignal?: AbortSignal;
  /** Gets the connection, and returns what the request is sent on. Default: the connection. */
  readonly wrap?: (connection: Duplex) => Duplex;
}

type RequestOptions = https.RequestOptions & ConnectionOptions;
type Done = (error: Error | null, stream: Duplex) => void;

class PlainAgent extends http.Agent {
  readonly #clock: Clock;
  readonly #proxy: URL | undefined;

  constructor(options: http.AgentOptions, clock: Clock, proxy: URL | undefined) {
    // For an HTTP proxy Node writes the request; without a list of exceptions it uses it always.
    super({ ...options, proxyEnv: proxy === undefined || isSocks(proxy) ? {} : { http_proxy: proxy.href } });
    this.#clock = clock;
    this.#proxy = proxy;
  }

  override createConnection(options: RequestOptions, done?: Done): undefined {
    const { signal, destination } = connectionOf(options);
    const connect = async () => {
      const proxy = this.#proxy;
      if (proxy === undefined) return await connectTcp(destination, signal, { clock: this.#clock });
      const connection = await connectTcp(addressOfProxy(proxy), signal, { clock: this.#clock });
      if (isSocks(proxy)) return await tunnelTo(destination, connection, proxy, signal);
      return proxy.protocol === 'https:' ? await secured(connection, proxy, signal) : connection;
    };
    finish(connect(), options, done);
  }
}

class SecureAgent extends https.Agent {
  readonly #clock: Clock;
  readonly #proxy: URL | undefined;

  constructor(options: https.AgentOptions, clock: Clock, proxy: URL | undefined) {
    super(options);
    this.#clock = clock;
    this.#proxy = proxy;
  }

  override createConnection(options: RequestOptions, done?: Done): undefined {
    const { signal, destination } = connectionOf(options);
    const connect = async () => {
      const proxy = this.#proxy;
      const first = proxy === undefined ? destination : addressOfProxy(proxy);
      const connection = await connectTcp(first, signal, { clock: this.#clock });
      const socket = proxy === undefined ? connection : await tunnelTo(destination, connection, proxy, signal);
      // Node's agent keeps the sessions of TLS.
      const secure = super.createConnection({ ...options, socket } as RequestOptions);
      if (!secure) throw new Error('no connection was made');
      return secure;
    };
    finish(connect(), options, done);
  }
}

async function tunnelTo(
  destination: { host: string; port: number },
  connection: Socket,
  proxy: URL,
  signal: AbortSignal,
): Promise<Socket> {
  const abandon = () => void connection.destroy();
  signal.addEventListener('abort', abandon, { once: true });
  try {
    return await openTunnel(connection, proxy, formatAuthority(destination));
  } catch (error) {
    connection.destroy();
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', abandon);
  }
}

function connectionOf({ host, port, connectSignal }: RequestOptions) {
  const destination = { host: withoutBrackets(host ?? 'localhost'), port: Number(port) };
  return { signal: connectSignal ?? new AbortController().signal, destination };
}

function finish(connecting: Promise<Duplex>, { wrap = (one) => one }: RequestOptions, done: Done | undefined): void {
  connecting.then(
    (connection) => done?.(null, wrap(connection)),
    // Node's types have a stream here; there is none.
    (error: Error) => done?.(error, undefined as unknown as Duplex),
  );
}

async function secured(socket: Socket, { hostname }: URL, signal: AbortSignal): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const abandon = () => void socket.destroy();
  signal.addEventListener('abort', abandon, { once: true });
  const secure = tls.connect({ socket, host: withoutBrackets(hostname) }, resolve).once('error', reject);
  secure.once('close', () => reject(signal.reason ?? new Error('the proxy closed the connection')));
  try {
    await promise;
  } finally {
    signal.removeEventListener('abort', abandon);
    secure.off('error', reject);
  }
  return secure;
}
