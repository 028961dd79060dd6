import { lookup } from 'node:dns/promises';
import { createConnection, isIP, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { connect as connectTls, TLSSocket } from 'node:tls';
import type { NatsConnection, ServerInfo } from '@nats-io/transport-node';
import {
  type ConnectionOptions,
  checkOptions,
  Kind,
  NatsConnectionImpl,
  Parser,
  type Server,
  State,
  setTransportFactory,
  type Transport,
} from '@nats-io/transport-node';
import { z } from 'zod';

/** A greeting names the servers of a cluster: a kilobyte is usual. Other lines have up to 4 kB. */
const maxLineBytes = 64 * 1024;
/** The largest limit that the documentation of NATS servers recommends. */
const maxMessageBytes = 8 * 1024 ** 2;
/** A server that reads takes reports of some kB at once, and the answers to its pings. */
const maxUnsentBytes = 4 * 1024 ** 2;
const maxUnsentFrames = 10_000;
/** Some milliseconds of work: hundreds of messages. */
const bytesAtOnce = 4096;

/** What the client's library reads of a server's INFO; where it has other types, it throws. */
const usedInfo = z.looseObject({
  ...{
    server_id: z.string().default(''),
    server_name: z.string().default(''),
    go: z.string().default(''),
    proto: z.number().default(1),
  },
  ...{ client_id: z.number().default(0), host: z.string().default(''), port: z.number().default(0) },
  jetstream: z.boolean().exactOptional(),
  auth_required: z.boolean().exactOptional(),
  version: z.string().regex(/\d+.\d+.\d+/),
  nonce: z.string().exactOptional(),
  connect_urls: z.array(z.string()).exactOptional(),
  max_payload: z.number(),
  headers: z.boolean().exactOptional(),
  ldm: z.boolean().exactOptional(),
  tls_required: z.boolean().exactOptional(),
  tls_available: z.boolean().exactOptional(),
});

/**
 * As `connect()` of NATS's client, but the server can make it neither use memory without limit, nor
 * hold the event loop, nor take for its own what came before TLS.
 */
export function connectBounded(options: ConnectionOptions): Promise<NatsConnection> {
  setTransportFactory({ factory: () => new BoundedTransport(), dnsResolveFn: addressesOf });
  return NatsConnectionImpl.connect(options);
}

async function addressesOf(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}

/** The library's interface to a connection; it makes a new one for each attempt to connect. */
class BoundedTransport implements Transport {
  readonly lang = 'nibs';
  readonly version = '1';
  closeError?: Error;
  #socket: Socket | undefined;
  #greeting: Uint8Array = new Uint8Array();
  #unsentFrames = 0;
  #isConnected = false;
  #isDone = false;
  readonly #closed = Promise.withResolvers<undefined | Error>();

  get isClosed(): boolean {
    return this.#isDone;
  }

  async connect(server: Server, options: ConnectionOptions): Promise<void> {
    const socket = createConnection(server.port, server.hostname);
    this.#use(socket);
    socket.setNoDelay(true);
    try {
      const { received, lineBytes } = await readGreeting(socket);
      this.#greeting = received;
      const info = parseInfo(received.subarray('INFO '.length, lineBytes));
      checkOptions(info, options);
      if (info.tls_required === true || (info.tls_available === true && options.tls !== null)) {
        // An attacker would have it taken for what comes by TLS.
        if (lineBytes < received.length) throw new Error('the server has sent more than its INFO before TLS');
        await this.#startTls(socket, server, options);
      }
      if (this.#isDone) throw new Error('the connection is no longer wanted');
      this.#isConnected = true;
    } catch (error) {
      this.#socket?.destroy();
      throw error;
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    const guard = new Guard();
    try {
      for await (const received of this.#received()) {
        for (let at = 0; at < received.length; at += bytesAtOnce) {
          const piece = received.subarray(at, at + bytesAtOnce);
          guard.check(piece);
          yield piece;
          // The library would take everything that has come before anything else is done.
          await setImmediate();
        }
      }
      this.#end();
    } catch (error) {
      this.#end(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#end();
    }
  }

  isEncrypted(): boolean {
    return this.#socket instanceof TLSSocket;
  }

  send(frame: Uint8Array): void {
    const socket = this.#socket;
    if (this.#isDone || socket === undefined || socket.destroyed) return;
    this.#unsentFrames += 1;
    socket.write(frame, () => {
      this.#unsentFrames -= 1;
    });
    if (this.#unsentFrames > maxUnsentFrames || socket.writableLength > maxUnsentBytes)
      socket.destroy(new Error(`the server does not read: ${socket.writableLength} bytes wait to be sent`));
  }

  async close(error?: Error): Promise<void> {
    this.#end(error);
  }

  disconnect(): void {
    this.#end();
  }

  discard(): void {
    this.#isDone = true;
    this.#socket?.destroy();
  }

  closed(): Promise<undefined | Error> {
    return this.#closed.promise;
  }

  /** As the socket gives it, which is not read while the library is at work. */
  async *#received(): AsyncGenerator<Uint8Array, void> {
    yield this.#greeting;
    if (this.#socket !== undefined) yield* this.#socket;
  }

  /** Without TLS a server that requires it was refused before, by the options. */
  async #startTls(socket: Socket, { tlsName }: Server, { tls }: ConnectionOptions): Promise<void> {
    const isName = tlsName !== '' && isIP(tlsName) === 0;
    const secure = connectTls({ rejectUnauthorized: true, ...tls, socket, ...(isName && { servername: tlsName }) });
    this.#use(secure);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    secure.once('secureConnect', resolve).once('error', reject);
    secure.once('close', () => reject(new Error('the connection was closed while TLS was started')));
    await promise;
  }

  #use(socket: Socket): void {
    this.#socket = socket;
    // The reader of the socket reports it.
    socket.on('error', (error) => {
      this.closeError ??= error;
    });
  }

  /** Ends the connection; the library makes another one if it was connected. */
  #end(error?: Error): void {
    if (this.#isDone) return;
    this.#isDone = true;
    if (error !== undefined) this.closeError ??= error;
    this.#socket?.destroy();
    if (this.#isConnected) this.#closed.resolve(this.closeError);
  }
}

/**
 * What a server sends until its first line has ended.
 * @returns `lineBytes`: length of the line, with its end
 */
async function readGreeting(socket: Socket): Promise<{ received: Buffer; lineBytes: number }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ received: Buffer; lineBytes: number }>();
  let received = Buffer.alloc(0);
  const take = (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    const lineBytes = received.indexOf('\r\n') + 2;
    if (lineBytes >= 2) resolve({ received, lineBytes });
    else if (received.length > maxLineBytes) reject(new Error('the peer is not a NATS server: its INFO has no end'));
  };
  const close = () => reject(new Error('the connection was closed without an answer'));
  socket.on('data', take).once('error', reject).once('close', close);
  try {
    return await promise;
  } finally {
    // Nothing is lost until it is read on: by TLS, or as the iteration of the socket.
    socket.pause();
    socket.off('data', take).off('error', reject).off('close', close);
  }
}

function parseInfo(text: Uint8Array): ServerInfo {
  return usedInfo.parse(JSON.parse(new TextDecoder().decode(text)));
}

/**
 * Refuses what the library would throw an error for, which it prints before it forgets the
 * connection, and what it would keep without limit.
 */
class Guard {
  readonly #parser = new Parser({
    push: (event) => {
      if ('kind' in event && event.kind === Kind.INFO) parseInfo(event.data ?? new Uint8Array());
    },
  });

  /** @throws {Error} with what the server did */
  check(piece: Uint8Array): void {
    try {
      this.#parser.parse(piece);
    } catch (cause) {
      throw new Error('the server has sent what is not of the protocol of NATS', { cause });
    }
    const { state, ma, argBuf } = this.#parser;
    if (state === State.MSG_PAYLOAD && ma.size > maxMessageBytes)
      throw new Error(`the server sends a message of ${ma.size} bytes, more than ${maxMessageBytes}`);
    if (state !== State.MSG_PAYLOAD && argBuf !== undefined && argBuf.length > maxLineBytes)
      throw new Error(`the server sends a line of more than ${maxLineBytes} bytes`);
  }
}
