import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { connect as connectTcp } from 'node:net';
import type { Clock } from '../../clock/clock.ts';
import { DeadlineError } from '../../clock/deadline.ts';
import { within } from '../../clock/within.ts';

export interface Receiver {
  readonly host: string;
  readonly port: number;
  readonly protocol: 'udp' | 'tcp';
  /** Framing of messages over TCP. `line` is for messages without line breaks. */
  readonly framing: 'octet-counting' | 'line';
}

/** A connection to the receiver, until it breaks. */
export interface Connection extends AsyncDisposable {
  /**
   * Returns when the kernel has taken the messages.
   *
   * @throws the connection is broken
   */
  send(messages: readonly Buffer[]): Promise<void>;
  /** Why the connection broke; `undefined` while it works. */
  failure(): Error | undefined;
}

const connectTimeoutSeconds = 10;
/** Maximum wait for the receiver to accept the last bytes. */
const closeTimeoutSeconds = 1;

/**
 * @param onBroken called when the connection breaks, also while nothing is sent
 * @param signal closes the connection
 * @throws the reason why the receiver cannot be reached
 */
export async function connect(
  receiver: Receiver,
  clock: Clock,
  onBroken: () => void,
  signal: AbortSignal,
): Promise<Connection> {
  return receiver.protocol === 'tcp'
    ? await overTcp(receiver, clock, onBroken, signal)
    : await overUdp(receiver, clock, onBroken, signal);
}

/** Frames by octet counting or by line feeds (RFC 6587, sections 3.4.1 and 3.4.2). */
async function overTcp(
  { host, port, framing }: Receiver,
  clock: Clock,
  onBroken: () => void,
  signal: AbortSignal,
): Promise<Connection> {
  signal.throwIfAborted();
  const { promise: connected, resolve, reject } = Promise.withResolvers<void>();
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  let failure: Error | undefined;
  const socket = connectTcp({ host, port, keepAlive: true, keepAliveInitialDelay: 20_000 });
  const fail = (error: Error) => {
    failure ??= error;
    reject(error);
    socket.destroy();
    onBroken();
  };
  socket
    .once('connect', resolve)
    .on('error', fail)
    .once('close', () => {
      close();
      fail(new Error('it closed the connection'));
    });
  // Data from the receiver is discarded; unread, it would hide the end of the connection.
  socket.resume();
  // A write that the receiver does not accept ends with the socket.
  const end = () => {
    socket.end();
    const timer = clock.schedule(closeTimeoutSeconds, () => socket.destroy());
    void closed.then(() => timer[Symbol.dispose]());
  };
  signal.addEventListener('abort', end, { once: true });
  const limit = { seconds: connectTimeoutSeconds, awaited: 'connection' };
  using timer = clock.schedule(limit.seconds, () => fail(new DeadlineError(limit)));
  try {
    await connected;
  } catch (error) {
    // The signal is that of the forwarder: it would keep the socket of each attempt.
    signal.removeEventListener('abort', end);
    throw error;
  }
  timer[Symbol.dispose]();
  return {
    failure: () => failure,
    async send(messages) {
      const frames = Buffer.concat(
        messages.flatMap((message) =>
          framing === 'line' ? [message, Buffer.from('\n')] : [Buffer.from(`${message.length} `), message],
        ),
      );
      await taken((done) => socket.write(frames, done));
    },
    async [Symbol.asyncDispose]() {
      signal.removeEventListener('abort', end);
      end();
      await closed;
    },
  };
}

/** One datagram a message (RFC 5426). Connected, so that the kernel reports ICMP errors. */
async function overUdp(
  { host, port }: Receiver,
  clock: Clock,
  onBroken: () => void,
  signal: AbortSignal,
): Promise<Connection> {
  // A name server that does not answer is waited for by the system's resolver, which takes no
  // signal.
  const limit = { seconds: connectTimeoutSeconds, awaited: 'address' };
  const { address, family } = await within(clock, limit, signal, () => lookup(host));
  const { promise: connected, resolve, reject } = Promise.withResolvers<void>();
  let failure: Error | undefined;
  const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
  socket
    .once('connect', resolve)
    .on('error', (error) => {
      failure ??= error;
      reject(error);
      onBroken();
    })
    .connect(port, address);
  try {
    await connected;
  } catch (error) {
    socket.close();
    throw error;
  }
  return {
    failure: () => failure,
    async send(messages) {
      for (const message of messages) await taken((done) => socket.send(message, done));
    },
    async [Symbol.asyncDispose]() {
      socket.close();
    },
  };
}

async function taken(send: (done: (error?: Error | null) => void) => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  send((error) => (error ? reject(error) : resolve()));
  await promise;
}
