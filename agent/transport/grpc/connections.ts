import type { Socket } from 'node:net';
import { ChannelCredentials } from '@grpc/grpc-js';

type ConnectorOptions = Parameters<ChannelCredentials['_createSecureConnector']>;
type Connector = ReturnType<ChannelCredentials['_createSecureConnector']>;

/**
 * Credentials that know the connections made with them.
 *
 * gRPC sets no limit to the time in which a connection must become usable, and does not close one
 * that is still being made when its client is closed: a peer that accepts connections and stays
 * silent would cost one open file for each attempt.
 */
export class TrackedCredentials extends ChannelCredentials {
  readonly #credentials: ChannelCredentials;
  readonly #prepare: (socket: Socket) => Promise<Socket>;
  readonly #sockets = new Set<Socket>();

  /** @param prepare makes of a connection the one to speak on. Default: it is that. */
  constructor(
    credentials: ChannelCredentials,
    prepare: (socket: Socket) => Promise<Socket> = async (socket) => socket,
  ) {
    super();
    this.#credentials = credentials;
    this.#prepare = prepare;
  }

  destroyConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  override _isSecure(): boolean {
    return this.#credentials._isSecure();
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(...options: ConnectorOptions): Connector {
    const connector = this.#credentials._createSecureConnector(...options);
    return {
      connect: async (socket) => {
        this.#sockets.add(socket);
        // A peer that vanishes during a call of minutes is noticed within 40 seconds: pings of
        // HTTP/2 are too few for that, because servers forbid more.
        socket.setKeepAlive(true, 30_000);
        socket.once('close', () => this.#sockets.delete(socket));
        return await connector.connect(await this.#prepare(socket));
      },
      waitForReady: () => connector.waitForReady(),
      getCallCredentials: () => connector.getCallCredentials(),
      destroy: () => connector.destroy(),
    };
  }
}
