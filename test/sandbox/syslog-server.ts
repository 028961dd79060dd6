/**
 * A syslog server: keeps every message it gets, over TCP with octet counting (RFC 6587) or over UDP
 * (RFC 5426).
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer, isIPv6, type Server, type Socket } from 'node:net';

export class SyslogServer implements AsyncDisposable {
  readonly messages: string[] = [];
  readonly protocol: 'tcp' | 'udp';
  readonly #address: string;
  port: number;
  #server: Server | UdpSocket | undefined;
  readonly #sockets = new Set<Socket>();
  #arrived = Promise.withResolvers<void>();

  /** @param options where it listens. Default: 127.0.0.1, and a free port */
  constructor(protocol: 'tcp' | 'udp', { address = '127.0.0.1', port = 0 } = {}) {
    this.protocol = protocol;
    this.#address = address;
    this.port = port;
  }

  /** At the port it had before, if it had one. */
  async start(): Promise<void> {
    if (this.protocol === 'tcp') {
      const server = createServer((socket) => this.#receive(socket)).listen(this.port, this.#address);
      await once(server, 'listening');
      this.port = (server.address() as AddressInfo).port;
      this.#server = server;
    } else {
      const server = createSocket(isIPv6(this.#address) ? 'udp6' : 'udp4', (message) => this.#keep(message.toString()));
      server.bind(this.port, this.#address);
      await once(server, 'listening');
      this.port = server.address().port;
      this.#server = server;
    }
  }

  /** As a process that is killed: connections are reset. What it has not read is lost. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    for (const socket of this.#sockets) socket.resetAndDestroy();
    const closed = once(server, 'close');
    server.close();
    await closed;
  }

  /** Stops to read, with the connections open: what arrives stays in the kernel. */
  pause(): void {
    for (const socket of this.#sockets) socket.pause();
  }

  async until(condition: (messages: readonly string[]) => boolean): Promise<void> {
    while (!condition(this.messages)) await this.#arrived.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #receive(socket: Socket): void {
    this.#sockets.add(socket);
    let rest = Buffer.alloc(0);
    socket
      .on('data', (chunk) => {
        rest = Buffer.concat([rest, chunk]);
        for (;;) {
          const space = rest.indexOf(' ');
          const length = space < 0 ? Number.NaN : Number(rest.toString('ascii', 0, space));
          if (!(rest.length >= space + 1 + length)) return;
          this.#keep(rest.toString('utf8', space + 1, space + 1 + length));
          rest = rest.subarray(space + 1 + length);
        }
      })
      .on('error', () => {})
      .on('close', () => this.#sockets.delete(socket));
  }

  #keep(message: string): void {
    this.messages.push(message);
    this.#arrived.resolve();
    this.#arrived = Promise.withResolvers();
  }
}
