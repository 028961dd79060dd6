import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { execa } from 'execa';
import { connectTcp } from '../../net/connect.ts';

const never = new AbortController().signal;

/**
 * Listens at one port of 127.0.0.1 and ::1 and accepts nothing: when the queue is full, the kernel
 * drops what is sent to connect. For each line on its input it accepts what comes to that family.
 */
const listener = `
  use IO::Socket::IP; use IO::Select;
  my $four = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1) or die;
  my $six = IO::Socket::IP->new(LocalHost => '::1', LocalPort => $four->sockport, Listen => 1) or die;
  $| = 1; print $four->sockport, "\\n";
  my ($input, @kept) = IO::Select->new(\\*STDIN);
  while (<STDIN>) {
    my $chosen = /6/ ? $six : $four;
    my $ready = IO::Select->new($chosen, \\*STDIN);
    while (my ($one) = $ready->can_read) { last if $one == \\*STDIN; push @kept, $chosen->accept; }
  }`;

async function startListener(test: TestContext) {
  const child = execa('perl', ['-e', listener], { reject: false });
  test.after(() => child.kill());
  const port = Number(String((await once(child.stdout, 'data'))[0]));
  const waiting: Socket[] = [];
  test.after(() => {
    for (const socket of waiting) socket.destroy();
  });
  for (const host of ['127.0.0.1', '::1']) {
    // Until one is not taken.
    for (let isFull = false; !isFull; ) {
      const socket = connect({ host, port }).on('error', () => {});
      waiting.push(socket);
      isFull = await Promise.race([once(socket, 'connect').then(() => false), pause(300, true)]);
    }
  }
  return { port, accept: (family: 4 | 6) => child.stdin.write(`${family}\n`) };
}

for (const family of [4, 6] as const) {
  test(`connectTcp() waits for a slow connection by IPv${family} where the other family is dead`, async (test) => {
    const { port, accept } = await startListener(test);
    const lookup = async () => (family === 4 ? ['127.0.0.1', '::1'] : ['::1', '127.0.0.1']);
    const connecting = connectTcp({ host: 'dual', port }, never, { lookup });
    // Longer than the pause before the next attempt. The kernel asks again a second later.
    await pause(600);
    accept(family);
    const socket = await connecting;
    assert.equal(socket.remoteFamily, `IPv${family}`);
    socket.destroy();
  });
}

test('connectTcp() takes the second family when the first is dead', async (test) => {
  const dead = await startListener(test);
  const server = createServer((socket) => socket.end()).listen(0, '127.0.0.2');
  test.after(() => server.close());
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  // The port of the server is closed at ::1, that of the dead listener is not open at 127.0.0.2.
  const socket = await connectTcp({ host: 'dual', port: address.port }, never, {
    lookup: async () => ['::1', '127.0.0.2'],
  });
  assert.equal(socket.remoteAddress, '127.0.0.2');
  socket.destroy();
  const late = new AbortController();
  const connecting = connectTcp({ host: 'dead', port: dead.port }, late.signal, {
    lookup: async () => ['::1', '127.0.0.1'],
  });
  setTimeout(() => late.abort(new Error('too late')), 400);
  await assert.rejects(connecting, /too late/);
});

test('connectTcp() fails with the reason of each address', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  server.close();
  await once(server, 'close');
  const { port } = address;
  await assert.rejects(connectTcp({ host: '127.0.0.1', port }, never), { code: 'ECONNREFUSED' });
  await assert.rejects(
    connectTcp({ host: 'dual', port }, never, { lookup: async () => ['127.0.0.1', '::1'] }),
    (error) => error instanceof AggregateError && error.errors.length === 2,
  );
  await assert.rejects(connectTcp({ host: 'no-such-host.invalid', port }, never), { code: /ENOTFOUND|EAI_AGAIN/ });
});
