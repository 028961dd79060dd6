import { lookup as lookUp } from 'node:dns/promises';
import { connect, isIP, type Socket } from 'node:net';
import type { Clock, Timer } from '../clock/clock.ts';
import { systemClock } from '../clock/system.ts';

/** Where to connect to. */
export interface Destination {
  /** A name or an address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface ConnectOptions {
  /** Default: the machine's. */
  readonly clock?: Clock;
  /** The addresses of a name, the preferred first. Default: those of the machine's resolver. */
  readonly lookup?: (host: string) => Promise<readonly string[]>;
}

/** "Connection Attempt Delay" of RFC 8305, section 5. */
const attemptDelaySeconds = 0.25;

/**
 * Connects by TCP to the first address that answers, as RFC 8305 ("Happy Eyeballs") has it: the
 * addresses are tried one after the other, with both families in turn, each 250 ms after the one
 * before, or when that has failed. Unlike with Node's `autoSelectFamily`, an attempt goes on while
 * the next ones are made: Node gives each but the last 250 ms, so that a slow connection fails
 * where the other family is dead.
 *
 * @throws {Error} no address accepts the connection: the error of the only one, or an
 *   AggregateError with those of all; the reason of the signal
 */
export async function connectTcp(
  { host, port }: Destination,
  signal: AbortSignal,
  { clock = systemClock, lookup = addressesOf }: ConnectOptions = {},
): Promise<Socket> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const sockets = new Set<Socket>();
  const errors: NodeJS.ErrnoException[] = [];
  let timer: Timer | undefined;
  let waiting: string[] = [];
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });

  function tryNext(): void {
    timer?.[Symbol.dispose]();
    const address = waiting.shift();
    if (address === undefined) return;
    const socket = connect({ host: address, port, noDelay: true });
    sockets.add(socket);
    socket.once('connect', () => resolve(socket));
    socket.once('error', (error) => {
      errors.push(error);
      sockets.delete(socket);
      if (waiting.length > 0) tryNext();
      else if (sockets.size === 0) reject(errors.length === 1 ? error : failureOf(errors));
    });
    if (waiting.length > 0) timer = clock.schedule(attemptDelaySeconds, tryNext);
  }

  try {
    const found = isIP(host) === 0 ? lookup(host) : Promise.resolve([host]);
    // The resolver cannot be stopped.
    waiting = inTurn(await Promise.race([found, promise.then(() => [])]));
    tryNext();
    const connected = await promise;
    sockets.delete(connected);
    connected.removeAllListeners('error');
    return connected;
  } finally {
    waiting = [];
    timer?.[Symbol.dispose]();
    signal.removeEventListener('abort', abort);
    for (const socket of sockets)
      socket
        .removeAllListeners()
        .on('error', () => {})
        .destroy();
  }
}

async function addressesOf(host: string): Promise<string[]> {
  const found = await lookUp(host, { all: true, order: 'verbatim' });
  return found.map(({ address }) => address);
}

/** The first family first; then the families alternate (RFC 8305, section 4). */
function inTurn(addresses: readonly string[]): string[] {
  const family = isIP(addresses[0] ?? '');
  const [first, others] = [true, false].map((isFirst) => addresses.filter((one) => (isIP(one) === family) === isFirst));
  const longer = Math.max(first?.length ?? 0, others?.length ?? 0);
  return Array.from({ length: longer }, (_, index) => [first?.[index], others?.[index]])
    .flat()
    .filter((one) => one !== undefined);
}

function failureOf(errors: readonly NodeJS.ErrnoException[]): Error {
  return Object.assign(new AggregateError(errors), { code: errors[0]?.code });
}
