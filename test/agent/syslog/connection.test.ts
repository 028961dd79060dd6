import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import dns from 'node:dns/promises';
import { getEventListeners, once } from 'node:events';
import { syncBuiltinESMExports } from 'node:module';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { connect, type Receiver } from '../../../agent/syslog/connection.ts';
import { systemClock } from '../../../clock/system.ts';

const never = new AbortController().signal;

function connectTo(receiver: Partial<Receiver>, signal = never) {
  const defaults = { host: '127.0.0.1', port: 514, protocol: 'udp', framing: 'octet-counting' } as const;
  return connect({ ...defaults, ...receiver }, systemClock, () => {}, signal);
}

test('connect() leaves nothing of a failed attempt on the signal, which is that of all attempts', async () => {
  const { signal } = new AbortController();
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  for (let attempt = 0; attempt < 3; attempt++)
    await assert.rejects(connectTo({ port, protocol: 'tcp' }, signal), /ECONNREFUSED/);
  assert.equal(getEventListeners(signal, 'abort').length, 0);
});

test('connect() over UDP ends with its signal although the name server does not answer', async (t) => {
  const lookup = t.mock.method(dns, 'lookup', () => new Promise(() => {}));
  syncBuiltinESMExports();
  t.after(() => {
    lookup.mock.restore();
    syncBuiltinESMExports();
  });
  const controller = new AbortController();
  const reason = new Error('the agent stops');
  let failure: unknown;
  connectTo({ host: 'syslog.example' }, controller.signal).catch((error: unknown) => {
    failure = error;
  });
  controller.abort(reason);
  await setImmediate();
  assert.equal(failure, reason);
  assert.equal(lookup.mock.callCount(), 1);
});

test('connect() over UDP leaves no socket where there is no way to the address', async () => {
  const sockets = () => process.getActiveResourcesInfo().filter((name) => /^UDP/.test(name)).length;
  // The kernel refuses to send to all hosts without a request of its own.
  await assert.rejects(connectTo({ host: '255.255.255.255' }), /EACCES|ENETUNREACH/);
  // It is closed after a turn or two of the event loop.
  for (let turns = 0; turns < 10 && sockets() > 0; turns++) await setImmediate();
  assert.equal(sockets(), 0);
});

test('connect() over UDP reaches an IPv6 address', async () => {
  const receiver = createSocket('udp6').bind(0, '::1');
  await once(receiver, 'listening');
  const received = once(receiver, 'message');
  await using connection = await connectTo({ host: '::1', port: receiver.address().port });
  await connection.send([Buffer.from('text')]);
  const [message] = await received;
  assert.equal(String(message), 'text');
  receiver.close();
});
