import http from 'node:http';
import https from 'node:https';
import type { Duplex } from 'node:stream';
import { type ProxyRules, targetOf } from './proxy.ts';

export interface HttpAgentsOptions {
  readonly proxy: ProxyRules;
  /** TLS of the connections to servers. Called once, when the first is needed: reading all the authorities that the machine trusts takes a while. */
  readonly tls: () => https.AgentOptions;
}

/**
 * Agents for Node's HTTP client that keep connections open until they are disposed of. Which proxy is used, if any, is decided for each URL by our rules;
 * Node's own rules know neither networks nor loopback addresses.
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

  /** Ends the connections to proxies that have not become tunnels yet. */
  abandonTunnels(reason: Error): void {
    for (const agent of this.#agents.values()) if (agent instanceof TunnellingAgent) agent.abandonTunnels(reason);
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

/**
 * Node's agent does not end a request that is still waiting for the tunnel of a proxy, whatever happens to the request: the wait for a proxy that does
 * not answer would never end.
 */
class TunnellingAgent extends https.Agent {
  readonly #unfinished = new Set<Duplex>();

  override createConnection(
    options: https.RequestOptions,
    done?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    let opened: Duplex | null | undefined;
    opened = super.createConnection(options, (error, stream) => {
      if (opened) this.#unfinished.delete(opened);
      done?.(error, stream);
    });
    const stream = opened;
    if (!stream) return stream;
    this.#unfinished.add(stream);
    // The former comes for one that needs no tunnel.
    for (const end of ['secureConnect', 'close']) stream.once(end, () => this.#unfinished.delete(stream));
    return stream;
  }

  abandonTunnels(reason: Error): void {
    for (const stream of this.#unfinished) stream.destroy(reason);
  }
}
