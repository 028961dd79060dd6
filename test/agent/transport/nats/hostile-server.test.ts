/**
 * A NATS server that sends what the protocol has not, or without end: the agent takes little memory
 * for it, closes the connection with a reason, and goes on answering.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { TLSSocket } from 'node:tls';
import { openNats } from '../../../../agent/transport/nats/nats.ts';
import { systemClock } from '../../../../clock/system.ts';
import { createCertificateAuthority } from '../../../sandbox/certificates.ts';
import { assertLoopIsFree } from '../../../sandbox/event-loop.ts';

const MiB = 1024 ** 2;
const info = 'INFO {"server_id":"x","version":"2.10.0","headers":true,"max_payload":1048576}\r\n';

interface HostileServer {
  readonly host: string;
  /** Resolves when the agent has closed the connection on which the server misbehaves. */
  readonly closed: Promise<void>;
  /** How often the agent has connected. */
  readonly connections: () => number;
}

/**
 * Greets as a server does, answers PING, and misbehaves on the second connection. The first one
 * only asks for the greeting.
 * @param greeting of the second connection
 */
async function serve(
  test: TestContext,
  misbehave: (socket: Socket, isStopped: () => boolean) => Promise<void>,
  greeting = info,
): Promise<HostileServer> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const closed = Promise.withResolvers<void>();
  closed.promise.catch(() => {});
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    connections += 1;
    if (connections !== 2) {
      socket.write(info);
      answerPings(socket);
      return;
    }
    let isStopped = false;
    socket.once('close', () => {
      isStopped = true;
      closed.resolve();
    });
    socket.write(greeting);
    answerPings(socket);
    void misbehave(socket, () => isStopped).then(() => closed.reject(new Error('the agent has taken it all')));
  });
  const port = await listen(test, server, sockets);
  return { host: `127.0.0.1:${port}`, closed: closed.promise, connections: () => connections };
}

/** @returns the port. Server and connections end with the test. */
async function listen(test: TestContext, server: Server, sockets: ReadonlySet<Socket>): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}

function answerPings(socket: Socket): void {
  socket.on('data', (data) => {
    const pings = String(data).split('PING').length - 1;
    if (pings > 0) socket.write('PONG\r\n'.repeat(pings));
  });
}

/** Writes the text again and again, as fast as it is taken, up to so many bytes. */
async function flood(socket: Socket, text: string, maxBytes: number, isStopped: () => boolean): Promise<void> {
  const piece = Buffer.from(text.repeat(Math.ceil((64 * 1024) / text.length)));
  for (let sent = 0; sent < maxBytes && !isStopped(); sent += piece.length)
    if (!socket.write(piece)) await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => {});
}

/** Until the agent has subscribed. */
async function subscribed(socket: Socket): Promise<void> {
  for await (const [data] of events(socket)) if (String(data).includes('SUB ')) return;
}

async function* events(socket: Socket): AsyncGenerator<[Buffer]> {
  for (;;) yield (await once(socket, 'data')) as [Buffer];
}

interface Agent extends AsyncDisposable {
  readonly warnings: string[];
  /** Asks for work until this resolves. */
  askUntil(over: Promise<void>): Promise<string[]>;
}

function startAgent(server: string): Agent {
  const warnings: string[] = [];
  const transport = openNats({
    ...{ server, stream: 'tinkerbell', eventsSubject: 'status', actionsSubject: 'actions', workerId: 'w' },
    ...{ waitSeconds: 0.01, redact: (text) => text, onWarning: (text) => warnings.push(text), onState: () => {} },
  });
  return {
    warnings,
    async askUntil(over) {
      const problems: string[] = [];
      const stop = new AbortController();
      const stopping = over.finally(() => stop.abort());
      stopping.catch(() => {});
      while (!stop.signal.aborted) {
        await transport.next(stop.signal).catch((error: Error) => problems.push(error.message));
        await pause(5);
      }
      await stopping;
      return problems;
    },
    [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
  };
}

const large = 400 * MiB;

describe('a hostile NATS server', () => {
  const endless: Readonly<Record<string, readonly [begin: string, rest: string]>> = {
    'a later INFO without end': [`INFO {"a":"`, 'a'],
    'the line of a message without end': [`MSG `, 'a'],
    'an error without end': [`-ERR '`, 'a'],
    'a message of 60 MiB': [`MSG tinkerbell.w.actions 1 ${60 * MiB}\r\n`, 'a'],
    'what is not of the protocol': [`garbage`, 'garbage'],
    'an INFO that is no JSON': [`INFO garbage\r\n`, '+OK\r\n'],
    'an INFO with no addresses': [`INFO {"connect_urls":5}\r\n`, '+OK\r\n'],
  };
  for (const [name, [begin, rest]] of Object.entries(endless)) {
    test(`sends ${name}`, async (test) => {
      const log = test.mock.method(console, 'log', () => {});
      const server = await serve(test, async (socket, isStopped) => {
        await subscribed(socket);
        socket.write(begin);
        await flood(socket, rest, large, isStopped);
      });
      await using agent = startAgent(server.host);
      await assertLoopIsFree(name, async () => {
        await agent.askUntil(server.closed);
      });
      assert.equal(log.mock.callCount(), 0);
    });
  }

  test('sends a greeting without end', async (test) => {
    const server = await serve(test, (socket, isStopped) => flood(socket, 'a', large, isStopped), 'INFO {"a":"');
    await using agent = startAgent(server.host);
    await assertLoopIsFree('greeting', async () => {
      await agent.askUntil(server.closed);
    });
  });

  test('sends pings, and does not read the answers', async (test) => {
    const server = await serve(test, async (socket, isStopped) => {
      await subscribed(socket);
      await pause(50);
      socket.pause();
      await flood(socket, 'PING\r\n', large, isStopped);
    });
    await using agent = startAgent(server.host);
    await assertLoopIsFree('pings', async () => {
      await agent.askUntil(server.closed);
    });
  });

  test('sends hundreds of thousands of empty messages', async (test) => {
    const end = Promise.withResolvers<void>();
    const server = await serve(test, async (socket, isStopped) => {
      await subscribed(socket);
      await flood(socket, 'MSG tinkerbell.w.actions 1 0\r\n\r\n', 8 * MiB, isStopped);
      end.resolve();
    });
    await using agent = startAgent(server.host);
    await assertLoopIsFree('messages', async () => {
      await agent.askUntil(end.promise);
    });
    assert.ok(agent.warnings.length < 5000, `${agent.warnings.length} warnings`);
  });
});

test('what an attacker adds to the greeting, before TLS, is not taken for a message', async (test) => {
  const authority = await createCertificateAuthority();
  const { certificate, key } = await authority.issue(['127.0.0.1']);
  const list = JSON.stringify([{ name: 'evil', image: 'evil' }]);
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    connections += 1;
    const greeting = info.replace('"headers"', '"tls_required":true,"headers"');
    // The third connection is the one after a loss: the subscription is known.
    const added = `MSG tinkerbell.w.actions 1 ${list.length}\r\n${list}\r\n`;
    socket.write(connections === 3 ? `${greeting}${added}` : greeting);
    const secure = new TLSSocket(socket, { isServer: true, cert: certificate, key });
    secure.on('error', () => {});
    answerPings(secure);
    if (connections === 2)
      secure.on('data', (data) => String(data).includes('SUB ') && setTimeout(() => socket.destroy(), 200));
  });
  const port = await listen(test, server, sockets);
  await using transport = openNats({
    ...{
      server: `tls://127.0.0.1:${port}`,
      stream: 'tinkerbell',
      eventsSubject: 'status',
      actionsSubject: 'actions',
    },
    ...{ workerId: 'w', waitSeconds: 0.01, redact: (text: string) => text, onWarning: () => {}, onState: () => {} },
    tls: { required: true, verify: true, certificateAuthority: authority.certificate },
  });
  // The fourth connection is after the third was refused.
  for (const taken: string[] = []; connections < 4; ) {
    const next = await transport.next(new AbortController().signal).catch(() => undefined);
    if (next?.kind === 'action') taken.push(next.action.name);
    assert.deepEqual(taken, []);
    await pause(5);
  }
});

test('a server that comes back with TLS is spoken to with TLS, and from then on never without', async (test) => {
  const authority = await createCertificateAuthority();
  const { certificate, key } = await authority.issue(['127.0.0.1']);
  const sockets = new Set<Socket>();
  const subscriptions: { readonly socket: Socket; readonly isSecure: boolean }[] = [];
  let hasTls = false;
  let connections = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    connections += 1;
    socket.write(hasTls ? info.replace('"headers"', '"tls_required":true,"headers"') : info);
    const isSecure = hasTls;
    const spoken = isSecure ? new TLSSocket(socket, { isServer: true, cert: certificate, key }) : socket;
    spoken.on('error', () => {});
    answerPings(spoken);
    spoken.on('data', (data) => String(data).includes('SUB ') && subscriptions.push({ socket, isSecure }));
  });
  const port = await listen(test, server, sockets);
  await using transport = openNats({
    ...{
      server: `127.0.0.1:${port}`,
      stream: 'tinkerbell',
      eventsSubject: 'status',
      actionsSubject: 'actions',
    },
    ...{ workerId: 'w', waitSeconds: 0.01, redact: (text: string) => text, onWarning: () => {}, onState: () => {} },
    tls: { required: false, verify: true, certificateAuthority: authority.certificate },
    // The library waits by the machine's clock: a second of that is a minute for the agent.
    clock: { ...systemClock, monotonicSeconds: () => 60 * systemClock.monotonicSeconds() },
  });
  /** Asks for work until the server has one more subscription, or so many connections more. */
  async function untilSubscribed(mostConnections: number): Promise<boolean | undefined> {
    const [last, earlier] = [connections + mostConnections, subscriptions.length];
    while (subscriptions.length === earlier && connections < last) {
      await transport.next(AbortSignal.timeout(1000)).catch(() => {});
      await pause(20);
    }
    return subscriptions[earlier]?.isSecure;
  }
  function lose(): void {
    for (const socket of sockets) socket.destroy();
  }
  assert.equal(await untilSubscribed(4), false);
  hasTls = true;
  lose();
  assert.equal(await untilSubscribed(12), true);
  hasTls = false;
  lose();
  assert.equal(await untilSubscribed(6), undefined, 'it is taken for another server');
});
