import http from 'node:http';
import https from 'node:https';
import type { Duplex } from 'node:stream';
import { type ProxyRules, targetOf } from './proxy.ts';

export interface HttpAgentsOptions {
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
 * loopback addresses.
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
    const proxy = this.#options.proxy(targetOf(url))?.href;
    const key = `${url.protocol} ${proxy ?? ''}`;
    const agent = this.#agents.get(key) ?? this.#create(url.protocol === 'https:', proxy);
    this.#agents.set(key, agent);
    return agent;
  }

  [Symbol.dispose](): void {
    for (const agent of this.#agents.values()) agent.destroy();
  }

  #create(isSecure: boolean, proxy: string | undefined): http.Agent {
    // Node takes the proxy from here; without a list of exceptions it uses it always.
    const proxyEnv = proxy === undefined ? {} : { http_proxy: proxy, https_proxy: proxy };
    if (!isSecure) return new http.Agent({ keepAlive: true, proxyEnv });
    this.#tls ??= this.#options.tls();
    return new TunnellingAgent({ ...this.#tls, keepAlive: true, proxyEnv });
  }
}

/** What the agent learns about a request besides Node's own options. */
export interface ConnectionOptions {
  /** Ends the attempt to connect. */
  readonly connectSignal?: AbortSignal;
}

/**
 * Node's agent does not end a request that waits for the tunnel of a proxy, not even when the
 * request is destroyed: the wait for a proxy that does not respond would never end. Here the signal
 * of the request ends the connection to the proxy.
 */
class TunnellingAgent extends https.Agent {
  override createConnection(
    options: https.RequestOptions & ConnectionOptions,
    done?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    const { connectSignal } = options;
    let stopWatching: (() => void) | undefined;
    const stream = super.createConnection(options, (error, connected) => {
      stopWatching?.();
      done?.(error, connected);
    });
    if (!stream || connectSignal === undefined) return stream;
    const abandon = () => void stream.destroy(connectSignal.reason);
    stopWatching = () => connectSignal.removeEventListener('abort', abandon);
    connectSignal.addEventListener('abort', abandon, { once: true });
    // A connection that needs no tunnel ends its handshake with the former.
    for (const end of ['secureConnect', 'close']) stream.once(end, stopWatching);
    return stream;
  }
}
