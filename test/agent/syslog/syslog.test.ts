import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type SyslogOptions, startSyslog } from '../../../agent/syslog/syslog.ts';
import { SyslogServer } from '../../sandbox/syslog-server.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';

function optionsFor({ port, protocol }: SyslogServer): SyslogOptions {
  return {
    host: '127.0.0.1',
    port,
    protocol,
    format: 'rfc5424-structured',
    sender: { hostName: 'machine', programName: 'tink-agent', processId: 1 },
    clock: new VirtualClock(),
    onChange: () => {},
  };
}

function recordOf(msg: string): string {
  return JSON.stringify({ level: 'info', time: '2026-03-04T05:06:07.890Z', msg });
}

/** The texts without what came twice, by the sequence number. */
function textsOf({ messages }: SyslogServer): string[] {
  const texts = new Map(messages.map((message) => [/sequenceId="(\d+)"/.exec(message)?.[1] ?? '', message] as const));
  return [...texts.values()].map((message) => message.slice(message.indexOf('] ') + 2));
}

function numbered(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, index) => `line ${from + index}`);
}

test('TCP: nothing is lost while the server is away, whatever it had not read when it went', async () => {
  await using server = new SyslogServer('tcp');
  await server.start();
  const changes: string[] = [];
  const { promise: reachableAgain, resolve: tell } = Promise.withResolvers<void>();
  await using syslog = startSyslog({
    ...optionsFor(server),
    onChange(reachable, message) {
      changes.push(`${reachable}: ${message}`);
      if (reachable) tell();
    },
  });
  const write = (from: number, to: number) => {
    for (const text of numbered(from, to)) syslog.write(recordOf(text));
  };

  write(0, 10);
  await server.until(() => textsOf(server).length === 10);
  // The kernel takes these, and no process reads them.
  server.pause();
  write(10, 500);
  const { promise: sent, resolve } = Promise.withResolvers<void>();
  setImmediate(() => setImmediate(resolve));
  await sent;
  await server.stop();
  write(500, 5000);
  await server.start();
  write(5000, 5010);
  await server.until((messages) => messages.some((message) => message.endsWith('line 5009')));

  assert.deepEqual(textsOf(server), numbered(0, 5010));
  await reachableAgain;
  assert.equal(changes.length, 2, changes.join('\n'));
  assert.match(
    changes[0] ?? '',
    /^false: cannot reach the syslog server 127.0.0.1:\d+ \(TCP\): .+; messages are spooled/,
  );
  assert.match(changes.at(-1) ?? '', /^true: .* is reachable again$/);
});

test('TCP: what a server that comes late has to hear is kept for it', async () => {
  await using server = new SyslogServer('tcp');
  await server.start();
  await server.stop();
  await using syslog = startSyslog(optionsFor(server));
  for (const text of numbered(0, 100)) syslog.write(recordOf(text));
  await server.start();
  await server.until((messages) => messages.length >= 100);
  assert.deepEqual(textsOf(server), numbered(0, 100));
});

test('a full spool loses the oldest messages, and says how many', async () => {
  await using server = new SyslogServer('tcp');
  await server.start();
  await server.stop();
  await using syslog = startSyslog({ ...optionsFor(server), spoolBytes: 10_000 });
  for (const text of numbered(0, 10_000)) syslog.write(recordOf(text));
  await server.start();
  await server.until((messages) => messages.some((message) => message.includes('were lost')));
  const texts = textsOf(server);
  const lost = Number(/^(\d+) earlier messages were lost/.exec(texts.find((text) => text.includes('lost')) ?? '')?.[1]);
  const lines = texts.filter((text) => text.startsWith('line'));
  assert.ok(lost > 9000);
  // The message about the loss itself takes the room of a few more.
  assert.ok(lost + lines.length >= 9990 && lost + lines.length <= 10_000, `${lost} + ${lines.length}`);
  assert.equal(lines.at(-1), 'line 9999');
});

test('UDP: one datagram a message, and a server that comes back is served again', async () => {
  await using server = new SyslogServer('udp');
  await server.start();
  await using syslog = startSyslog(optionsFor(server));
  syslog.write(recordOf('before'));
  await server.until((messages) => messages.length === 1);
  assert.match(server.messages[0] ?? '', /^<30>1 .* before$/);

  await server.stop();
  const { promise: refused, resolve } = Promise.withResolvers<void>();
  await using other = startSyslog({
    ...optionsFor(server),
    onChange: (reachable) => {
      if (!reachable) resolve();
    },
  });
  other.write(recordOf('while it was away'));
  await refused;
  await server.start();
  await server.until((messages) => messages.some((message) => message.endsWith('while it was away')));
});

for (const protocol of ['tcp', 'udp'] as const) {
  test(`${protocol}: disposing sends what is left`, async () => {
    await using server = new SyslogServer(protocol);
    await server.start();
    {
      await using syslog = startSyslog(optionsFor(server));
      for (const text of numbered(0, 50)) syslog.write(recordOf(text));
    }
    await server.until((messages) => messages.length >= 50);
    assert.deepEqual(textsOf(server), numbered(0, 50));
  });
}

test('disposing does not wait for a server that is away', async () => {
  await using server = new SyslogServer('tcp');
  await server.start();
  await server.stop();
  await using syslog = startSyslog(optionsFor(server));
  syslog.write(recordOf('not received'));
});
