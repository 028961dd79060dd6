/**
 * The transport against a real NATS server, by itself and below the agent's loop with the real
 * journal. A function of the test runs the actions.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { z } from 'zod';
import type { Action, Outcome } from '../../../../agent/action/action.ts';
import type { NatsTls } from '../../../../agent/transport/nats/bus.ts';
import { type NatsOptions, NatsOptionsError, openNats } from '../../../../agent/transport/nats/nats.ts';
import { type Transport, TransportError } from '../../../../agent/transport/transport.ts';
import { retry } from '../../../../clock/retry.ts';
import { systemClock } from '../../../../clock/system.ts';
import { AgentMachine, type RunAction } from '../../../sandbox/agent-under-test/agent-machine.ts';
import { type CertificateAuthority, createCertificateAuthority } from '../../../sandbox/certificates.ts';
import { loopbackAddress } from '../../../sandbox/loopback-address.ts';
import { type NatsServer, startNatsServer } from '../../../sandbox/nats-server.ts';

const event = z.strictObject({
  workflow_id: z.string(),
  task_id: z.string(),
  action_id: z.string(),
  action_name: z.string(),
  agent_id: z.string(),
  attempt: z.int().optional(),
  state: z.enum(['RUNNING', 'SUCCESS', 'FAILED', 'TIMEOUT']),
  message: z.string(),
  execution_start: z.iso.datetime().optional(),
  execution_stop: z.iso.datetime().optional(),
});
type ReceivedEvent = z.output<typeof event>;

/** Sends lists and receives their events: NATS's own client, with a connection of its own. */
class Sender implements AsyncDisposable {
  readonly events: ReceivedEvent[] = [];
  readonly #worker: string;
  readonly #connection: NatsConnection;
  #news = Promise.withResolvers<void>();

  constructor(connection: NatsConnection, worker: string) {
    this.#connection = connection;
    this.#worker = worker;
    connection.subscribe(`tinkerbell.${worker}.workflow_status`, {
      callback: (_error, message) => {
        this.events.push(event.parse(message.json()));
        this.#news.resolve();
        this.#news = Promise.withResolvers();
      },
    });
  }

  static async connect(host: string, worker: string): Promise<Sender> {
    const servers = [host];
    const connection = await connect({ servers, reconnectTimeWait: 50, maxReconnectAttempts: -1 });
    const sender = new Sender(connection, worker);
    await connection.flush();
    return sender;
  }

  async send(list: string | readonly object[]): Promise<void> {
    const text = typeof list === 'string' ? list : JSON.stringify(list);
    this.#connection.publish(`tinkerbell.${this.#worker}.workflow_actions`, text);
    await this.#connection.flush();
  }

  /** Until the server has it back. */
  async returned(): Promise<void> {
    await retry(() => this.#connection.flush(), { ...retryOptions, signal });
  }

  async until(condition: (events: readonly ReceivedEvent[]) => boolean): Promise<void> {
    while (!condition(this.events)) await this.#news.promise;
  }

  summary(): string[] {
    return this.events.map(({ state, action_name }) => `${state} ${action_name}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
  }
}

const { signal } = new AbortController();
const retryOptions = { clock: systemClock, initialSeconds: 0.05, maxSeconds: 0.2, onFailure: () => {} };

let server: NatsServer;
let worker: string;
const warnings: string[] = [];
const states: string[] = [];
before(async () => {
  server = await startNatsServer();
});
after(() => server[Symbol.asyncDispose]());
beforeEach(() => {
  worker = crypto.randomUUID();
  for (const list of [warnings, states]) list.length = 0;
});

function open(options: Partial<NatsOptions> = {}): Transport {
  return openNats({
    server: server.host,
    ...{ stream: 'tinkerbell', eventsSubject: 'workflow_status', actionsSubject: 'workflow_actions' },
    workerId: worker,
    redact: (text) => text.replaceAll('s3cret', '***'),
    onWarning: (message) => warnings.push(message),
    onState: (state) => states.push(state),
    ...options,
  });
}

/** A transport that listens: lists that are sent from now on arrive. */
async function listen(options: Partial<NatsOptions> = {}): Promise<Transport> {
  const transport = open({ waitSeconds: 0.01, ...options });
  assert.equal((await transport.next(signal)).kind, 'idle');
  return transport;
}

/** The next action, which must be there or come. */
async function take(transport: Transport): Promise<Action> {
  for (;;) {
    const next = await transport.next(signal);
    if (next.kind === 'action') return next.action;
  }
}

function ended(action: Action, verdict: Outcome['verdict'] = 'SUCCESS', seconds = 1) {
  const outcome = { verdict, message: 'its last words', startedAt: new Date(0), endedAt: new Date(seconds * 1000) };
  return { kind: 'ended', action, outcome } as const;
}

const list = (...names: readonly string[]) => names.map((name) => ({ name, image: 'busybox' }));

/** A machine whose agents take lists, and reboot it after the last one. */
function createMachine(runAction?: RunAction): AgentMachine {
  return new AgentMachine({
    ...{ finish: 'reboot', pollSeconds: 0.02, runAction },
    connect: ({ journal }) => open({ waitSeconds: 0.02, powerActionPending: () => journal.powerActionPending() }),
  });
}

/** Starts an agent. Lists that are sent when this returns arrive. */
async function startAgent(machine: AgentMachine): Promise<void> {
  const begin = machine.log.length;
  await machine.start();
  await machine.until(() => machine.log.slice(begin).some((line) => line.includes('idle: ')), 'the first poll');
}

describe('lists of actions and the agent', () => {
  test('a list is run in its order, and its events come in the same order', async () => {
    await using sender = await Sender.connect(server.host, worker);
    await using machine = createMachine();
    await startAgent(machine);
    await sender.send(
      `- {workflow_id: w, task_id: t, id: one, name: wipe, image: busybox}\n- {name: write, image: busybox}\n`,
    );
    await sender.until(({ length }) => length === 4);
    assert.deepEqual(sender.summary(), ['RUNNING wipe', 'SUCCESS wipe', 'RUNNING write', 'SUCCESS write']);
    const { execution_start, execution_stop, ...rest } = sender.events[1] ?? assert.fail();
    const whose = { workflow_id: 'w', task_id: 't', action_id: 'one', action_name: 'wipe', agent_id: worker };
    assert.deepEqual(rest, { ...whose, attempt: 1, state: 'SUCCESS', message: 'exit code 0' });
    assert.ok(execution_start !== undefined && execution_stop !== undefined && execution_start <= execution_stop);
    await machine.stop();
    assert.deepEqual(machine.happened.slice(0, 2), ['run wipe', 'run write']);
  });

  test('after the end of the last list the machine reboots at once, and not before', async () => {
    await using sender = await Sender.connect(server.host, worker);
    await using machine = createMachine(async ({ name }) => {
      if (name === 'first') await sender.send(list('second'));
      return {};
    });
    await startAgent(machine);
    await sender.send(list('first'));
    await machine.until(() => machine.happened.includes('reboot'), 'the reboot');
    assert.deepEqual(machine.happened, ['run first', 'run second', 'reboot']);
  });

  test('a failure, after its second attempt, ends its list and not the next one', async () => {
    await using sender = await Sender.connect(server.host, worker);
    await using machine = createMachine(async ({ name }) => (name === 'bad' ? { verdict: 'FAILED' } : {}));
    await startAgent(machine);
    await sender.send([{ name: 'bad', image: 'busybox', retries: 2 }, ...list('never', 'never too')]);
    await sender.send(list('good'));
    await sender.until((events) => events.some(({ state }) => state === 'SUCCESS'));
    const bad = ['RUNNING bad', 'RUNNING bad', 'RUNNING bad', 'FAILED bad'];
    assert.deepEqual(sender.summary(), [...bad, 'RUNNING good', 'SUCCESS good']);
    assert.deepEqual(machine.happened.slice(0, 3), ['run bad', 'run bad', 'run good']);
    assert.match(warnings.join(), /what follows bad is not run: 2 of the list of 3 actions \(workflow nats-/);
  });

  test('what ended is not run again when the list comes again after a restart in the middle', async () => {
    await using sender = await Sender.connect(server.host, worker);
    const [interrupt, hang] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let isFirstAgent = true;
    await using machine = createMachine(async ({ name }) => {
      if (name !== 'write' || !isFirstAgent) return {};
      interrupt.resolve();
      await hang.promise;
      return {};
    });
    const known = ['wipe', 'write'].map((name) => ({ workflow_id: 'w', id: name, name, image: 'busybox' }));
    await startAgent(machine);
    await sender.send(known);
    await interrupt.promise;
    const stopped = machine.stop();
    hang.resolve();
    await stopped;
    isFirstAgent = false;
    assert.match(warnings.join(), /the list of 2 actions \(workflow w\) is given up; it must be sent again/);
    await startAgent(machine);
    await sender.send(known);
    await sender.until((events) =>
      events.some(({ state, action_name }) => state === 'SUCCESS' && action_name === 'write'),
    );
    assert.deepEqual(
      machine.happened.filter((what) => what !== 'reboot'),
      ['run wipe', 'run write', 'run write'],
    );
    assert.deepEqual(sender.summary(), [
      ...['RUNNING wipe', 'SUCCESS wipe', 'RUNNING write'],
      ...['SUCCESS wipe', 'RUNNING write', 'SUCCESS write'],
    ]);
  });

  test('nor when it stopped between two actions, and was idle before the list came again', async () => {
    await using sender = await Sender.connect(server.host, worker);
    await using machine = createMachine();
    const known = ['wipe', 'write'].map((name) => ({ workflow_id: 'w', id: name, name, image: 'busybox' }));
    const stopped = Promise.withResolvers<void>();
    machine.onLine = (line) => line.includes('has acknowledged') && stopped.resolve(machine.stop());
    await startAgent(machine);
    await sender.send(known);
    await stopped.promise;
    machine.onLine = () => {};
    await startAgent(machine);
    await sender.send(known);
    await machine.until(() => machine.happened.includes('reboot'), 'the reboot');
    assert.deepEqual(machine.happened, ['run wipe', 'run write', 'reboot']);
  });

  test('the server stops and comes back amid an action: the action goes on, and its end arrives', {
    timeout: 600_000,
  }, async () => {
    await using other = await startNatsServer();
    await using sender = await Sender.connect(other.host, worker);
    await using transport = await listen({ server: other.host });
    await sender.send(list('long', 'next'));
    const action = await take(transport);
    await transport.report({ kind: 'started', action, at: new Date() }, signal);
    await other.stop();
    await assert.rejects(
      transport.report(ended(action), signal),
      (error) => error instanceof TransportError && error.message.includes(other.host),
    );
    await other.start();
    await sender.returned();
    const answer = await retry(() => transport.report(ended(action), signal), { ...retryOptions, signal });
    assert.deepEqual(answer, { kind: 'acknowledged', workflowDone: false });
    await sender.until((events) => events.some(({ state }) => state === 'SUCCESS'));
    assert.deepEqual(states, ['connected', 'disconnected', 'connected']);
    // What had arrived is still there, and what is sent now arrives.
    assert.equal((await take(transport)).name, 'next');
  });
});

describe('openNats()', () => {
  test('an action that fails is attempted as often as the list says, within its one limit', async () => {
    await using sender = await Sender.connect(server.host, worker);
    await using transport = await listen();
    await sender.send([{ id: 'a', name: 'flaky', image: 'busybox', retries: 3, timeoutSeconds: 10 }, ...list('after')]);
    const attempts: Action[] = [];
    for (const verdict of ['FAILED', 'FAILED', 'SUCCESS'] as const) {
      const action = await take(transport);
      attempts.push(action);
      await transport.report(ended(action, verdict, 4.2), signal);
    }
    assert.equal((await take(transport)).name, 'after');
    assert.deepEqual(
      attempts.map(({ id, timeoutSeconds }) => ({ id, timeoutSeconds })),
      [
        { id: 'a', timeoutSeconds: 10 },
        { id: 'a.attempt-2', timeoutSeconds: 6 },
        { id: 'a.attempt-3', timeoutSeconds: 2 },
      ],
    );
    await sender.until(({ length }) => length === 3);
    assert.deepEqual(
      sender.events.map(({ action_id, attempt, state }) => ({ action_id, attempt, state })),
      [
        { action_id: 'a', attempt: 1, state: 'RUNNING' },
        { action_id: 'a', attempt: 2, state: 'RUNNING' },
        { action_id: 'a', attempt: 3, state: 'SUCCESS' },
      ],
    );
    assert.equal(sender.events[0]?.message, 'attempt 1 failed, another follows: its last words');
  });

  test('the last attempt that fails, and a timeout at once, end the list', async () => {
    await using sender = await Sender.connect(server.host, worker);
    await using transport = await listen();
    await sender.send([{ name: 'fails', image: 'busybox', retries: 2 }, ...list('never')]);
    await transport.report(ended(await take(transport), 'FAILED'), signal);
    const last = await transport.report(ended(await take(transport), 'FAILED'), signal);
    assert.deepEqual(last, { kind: 'acknowledged', workflowDone: false });
    const { reason, ...idle } = { reason: '', ...(await transport.next(signal)) };
    assert.deepEqual(idle, { kind: 'idle', mayContinue: false });
    assert.match(reason, /no list of actions waits; they come on tinkerbell\./);
    await sender.send([{ name: 'hangs', image: 'busybox', retries: 2 }]);
    await transport.report(ended(await take(transport), 'TIMEOUT'), signal);
    assert.equal((await transport.next(signal)).kind, 'idle');
    await sender.until(({ length }) => length === 3);
    assert.deepEqual(sender.summary(), ['RUNNING fails', 'FAILED fails', 'TIMEOUT hangs']);
  });

  test('a list that cannot be used is answered with the reason, and the next one is taken', async () => {
    await using sender = await Sender.connect(server.host, worker);
    await using transport = await listen();
    await sender.send('- image: [s3cret');
    await sender.send('- name: no image\n');
    await sender.send(list('good'));
    assert.equal((await take(transport)).name, 'good');
    await sender.until(({ length }) => length === 2);
    assert.deepEqual(sender.summary(), ['FAILED ', 'FAILED ']);
    assert.equal(sender.events[1]?.agent_id, worker);
    const text = `the list cannot be used: list on tinkerbell.${worker}.workflow_actions:1:3: the action must name an image`;
    assert.equal(sender.events[1]?.message, text);
    assert.equal(warnings[1], text);
    assert.doesNotMatch(JSON.stringify([sender.events, warnings]), /s3cret/);
  });

  test('two lists in a row are run in a row, and without ids they are two though they are equal', async () => {
    await using sender = await Sender.connect(server.host, worker);
    await using transport = await listen();
    for (const sent of [list('a'), list('a')]) await sender.send(sent);
    const first = await take(transport);
    await transport.report(ended(first), signal);
    const second = await take(transport);
    assert.notEqual(first.workflowId, second.workflowId);
    assert.notEqual(first.id, second.id);
    assert.deepEqual(await transport.report(ended(second), signal), { kind: 'acknowledged', workflowDone: true });
  });

  test('more lists than can wait are refused, by name', async () => {
    await using sender = await Sender.connect(server.host, worker);
    await using transport = await listen();
    for (let count = 1; count <= 18; count += 1) await sender.send([{ workflow_id: `w${count}`, image: 'busybox' }]);
    await sender.until(({ length }) => length === 1);
    assert.equal(sender.events[0]?.message, 'the list of 1 actions (workflow w18) is dropped: 16 others wait already');
    assert.equal((await take(transport)).workflowId, 'w1');
  });

  test('before any list ended here an earlier agent’s work may go on, unless it is known to be done', async () => {
    await using fresh = open({ waitSeconds: 0.01 });
    await using done = open({ waitSeconds: 0.01, powerActionPending: () => true });
    const mayContinue = async (transport: Transport) =>
      ({ mayContinue: undefined, ...(await transport.next(signal)) }).mayContinue;
    assert.deepEqual([await mayContinue(fresh), await mayContinue(done)], [true, false]);
  });

  test('the end of an action whose list is lost is reported, and ends no list', async () => {
    await using sender = await Sender.connect(server.host, worker);
    await using transport = await listen();
    await sender.send([{ id: 'a', name: 'a', image: 'busybox' }]);
    const action = await take(transport);
    await transport.report(ended({ ...action, workflowId: 'earlier', id: 'b.attempt-2' }, 'FAILED'), signal);
    await sender.until(({ length }) => length === 1);
    const { workflow_id, action_id, attempt, state } = sender.events[0] ?? assert.fail();
    assert.deepEqual(
      { workflow_id, action_id, attempt, state },
      { workflow_id: 'earlier', action_id: 'b', attempt: 2, state: 'FAILED' },
    );
    assert.deepEqual(await take(transport), action);
  });

  test('a question for work ends at once when its signal is aborted', async () => {
    const connected = Promise.withResolvers<void>();
    await using transport = open({ onState: () => connected.resolve() });
    for (const moment of [Promise.resolve(), connected.promise]) {
      const stop = new AbortController();
      const asked = transport.next(stop.signal);
      await moment;
      stop.abort(new Error('stop'));
      await assert.rejects(asked, { message: 'stop' });
    }
  });

  test('a server that is not there, and one that says nothing, are named with the reason', async () => {
    const address = `${loopbackAddress()}:14222`;
    await using absent = open({ server: `nats://user:s3cret@${address}` });
    const message = `cannot connect to the NATS server ${address}: connect ECONNREFUSED ${address}`;
    await assert.rejects(absent.next(signal), { name: 'TransportError', message });
    assert.deepEqual(states, []);

    const sockets: Socket[] = [];
    const mute = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const { port } = z.object({ port: z.int() }).parse(mute.address());
    await using silent = open({ server: `127.0.0.1:${port}` });
    await assert.rejects(
      silent.next(signal),
      /cannot connect to the NATS server 127\.0\.0\.1:\d+: no answer within 5 s/,
    );
    // Nothing is left open on our side.
    mute.close();
    for (const socket of sockets) socket.resume();
    await once(mute, 'close');
  });

  test('closed while the server is away, it lets go of the connection that was being made', async () => {
    await using other = await startNatsServer();
    const transport = await listen({ server: other.host });
    await other.stop();
    const [address = '', port] = other.host.split(':');
    const mute = createServer().listen(Number(port), address);
    const [socket]: Socket[] = await once(mute, 'connection');
    await transport[Symbol.asyncDispose]();
    socket?.resume();
    mute.close();
    await once(mute, 'close');
  });

  test('what the server forbids is an error', async () => {
    const users =
      '{user: deaf, password: x, permissions: {subscribe: "_INBOX.>"}}, {user: mute, password: x, permissions: {publish: none}}';
    await using strict = await startNatsServer(`authorization { users: [ ${users} ] }`);
    await using deaf = open({ server: `nats://deaf:x@${strict.host}` });
    await assert.rejects(deaf.next(signal), /cannot connect to .*: .*permissions violation for subscription/i);
    await using mute = await listen({ server: `nats://mute:x@${strict.host}` });
    const action = { workflowId: 'w', taskName: '', name: 'a', id: 'a', workerId: worker, image: 'a' } as Action;
    await assert.rejects(
      mute.report(ended(action), signal),
      /cannot publish on tinkerbell\..*\.workflow_status at .*: .*permissions violation for publish/i,
    );
    await using stranger = open({ server: `nats://deaf:wrong@${strict.host}` });
    await assert.rejects(stranger.next(signal), /cannot connect to .*: .*authorization violation/i);
  });

  describe('TLS', () => {
    let authority: CertificateAuthority;
    let directory: string;
    before(async () => {
      authority = await createCertificateAuthority();
      directory = await mkdtemp(join(tmpdir(), 'nibs-nats-tls-'));
    });
    after(() => rm(directory, { recursive: true }));

    /** @param further lines within the block `tls` */
    async function startSecure(names: readonly [string, ...string[]] | undefined, further = '', outside = '') {
      const address = loopbackAddress();
      const { certificate, key } = await authority.issue(names ?? [address]);
      const files = { 'ca.pem': authority.certificate, 'cert.pem': certificate, 'key.pem': key };
      for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
      const at = (name: string) => JSON.stringify(join(directory, name));
      const tls = `tls { cert_file: ${at('cert.pem')}, key_file: ${at('key.pem')}, ca_file: ${at('ca.pem')} ${further} }`;
      return await startNatsServer(`${tls}\n${outside}`, address);
    }

    const trusted = (others: Partial<NatsTls> = {}): NatsTls => ({
      required: false,
      verify: true,
      certificateAuthority: authority.certificate,
      ...others,
    });
    const account = 'authorization { user: me, password: s3cret }';

    for (const scheme of ['tls', 'nats']) {
      test(`${scheme}:// speaks TLS with a server that wants it, and comes back to it`, async () => {
        await using secure = await startSecure(undefined, '', account);
        await using transport = await listen({ server: `${scheme}://me:s3cret@${secure.host}`, tls: trusted() });
        await secure.stop();
        await secure.start();
        const idle = () => transport.next(signal);
        assert.equal((await retry(idle, { ...retryOptions, signal })).kind, 'idle');
        assert.deepEqual(states, ['connected', 'disconnected', 'connected']);
      });
    }

    test('the machine’s own authorities count where no other is named, and not others', async () => {
      await using secure = await startSecure(undefined);
      await using transport = open({ server: `tls://${secure.host}` });
      await assert.rejects(transport.next(signal), /cannot connect to the NATS server .*: .*(self.signed|unable to)/);
    });

    test('a server of another name is refused, unless its certificate is not verified', async () => {
      await using secure = await startSecure(['elsewhere.example']);
      const server = `tls://${secure.host}`;
      await using strict = open({ server, tls: trusted() });
      await assert.rejects(strict.next(signal), /cannot connect to .*: .*(altnames|does not match)/i);
      await using lax = await listen({ server, tls: { required: false, verify: false } });
      assert.deepEqual(states, ['connected']);
      assert.ok(lax);
    });

    test('a client certificate is shown to a server that wants one', async () => {
      await using secure = await startSecure(undefined, ', verify: true');
      const server = `tls://${secure.host}`;
      const { certificate, key } = await authority.issue(['agent'], { usage: 'client' });
      await using transport = await listen({ server, tls: trusted({ clientCertificate: { certificate, key } }) });
      assert.ok(transport);
      await using stranger = open({ server, tls: trusted() });
      await assert.rejects(stranger.next(signal), /cannot connect to /);
    });

    for (const options of [
      { scheme: 'tls', required: false },
      { scheme: 'nats', required: true },
    ]) {
      test(`a server without TLS gets no password where TLS was asked for (${options.scheme}://)`, async () => {
        const heard: string[] = [];
        const plain = createServer((socket) => {
          socket.on('data', (chunk) => heard.push(String(chunk))).on('error', () => {});
          socket.write('INFO {"server_id":"x","version":"2.9.10","proto":1,"max_payload":1048576}\r\n');
        }).listen(0, '127.0.0.1');
        await once(plain, 'listening');
        const { port } = z.object({ port: z.int() }).parse(plain.address());
        await using transport = open({
          server: `${options.scheme}://me:s3cret@127.0.0.1:${port}`,
          tls: trusted({ required: options.required }),
        });
        await assert.rejects(transport.next(signal), /: the server does not support TLS, which is required$/);
        plain.close();
        await once(plain, 'close');
        assert.deepEqual(heard, []);
      });
    }

    test('a server that loses its TLS while the agent is connected gets no password either', async () => {
      await using secure = await startSecure(undefined, '', account);
      await using transport = await listen({ server: `tls://me:s3cret@${secure.host}`, tls: trusted() });
      await secure.stop();
      const [address = '', port] = secure.host.split(':');
      const heard: string[] = [];
      const twice = Promise.withResolvers<void>();
      let connections = 0;
      const plain = createServer((socket) => {
        connections += 1;
        if (connections === 2) twice.resolve();
        socket.on('data', (chunk) => heard.push(String(chunk))).on('error', () => {});
        socket.write('INFO {"server_id":"x","version":"2.9.10","proto":1,"max_payload":1048576}\r\n');
      }).listen(Number(port), address);
      await twice.promise;
      await transport[Symbol.asyncDispose]();
      plain.close();
      assert.deepEqual(heard, []);
    });

    test('an address of an unknown protocol is refused by its name', () => {
      for (const protocol of ['http', 'ws', 'wss', 'natss'])
        assert.throws(() => open({ server: `${protocol}://host:4222` }), {
          name: 'NatsOptionsError',
          message: `the NATS server must be given as nats:// or tls://, not as ${protocol}://`,
        });
    });
  });

  test('subjects that are none, or are those of others, and addresses that are none are refused', () => {
    for (const workerId of ['', '*', 'a b', 'a.>', 'a..b']) assert.throws(() => open({ workerId }), NatsOptionsError);
    for (const server of ['', '0.0.0.0:0', 'host:port', 'nats://me:50%@host'])
      assert.throws(() => open({ server }), NatsOptionsError);
  });
});
