/**
 * The loop against a fake server, with the real transport and journal. A function of the test runs
 * the actions, because these tests are about the order of events; main.test.ts has the real engine.
 */
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Action, Verdict } from '../../agent/action/action.ts';
import { type Journal, openJournal } from '../../agent/journal.ts';
import type { Runtime } from '../../agent/runtime/runtime.ts';
import { createServerTransport, type ServerTransportOptions } from '../../agent/transport/grpc/server.ts';
import type { Next, Transport } from '../../agent/transport/transport.ts';
import { systemClock } from '../../clock/system.ts';
import { AgentMachine } from '../sandbox/agent-under-test/agent-machine.ts';
import { enrol } from '../sandbox/agent-under-test/enrol.ts';
import { waitForPolls } from '../sandbox/agent-under-test/wait-for-polls.ts';
import { MACHINE_ONE, templateOf } from '../sandbox/tink-server/example.ts';
import {
  type ServerDialect,
  startTinkServer,
  type TinkServer,
  type TinkServerOptions,
} from '../sandbox/tink-server/server.ts';
import { VirtualClock } from '../sandbox/virtual-clock.ts';

/** A server, and a machine whose agents it serves, in virtual time. */
interface Fixture {
  readonly server: TinkServer;
  readonly machine: AgentMachine;
  readonly clock: VirtualClock;
  /** What the agents know of the server. */
  readonly worker: ServerTransportOptions;
  createWorkflow(actions: readonly string[], name?: string): string;
  /** Waits until the server has recorded this. */
  recorded(workflowId: string, progress: string, actionName: string): Promise<void>;
}

/** What the server records is also among what happened on the machine: `SUCCESS wipe`. */
async function startFixture(
  test: TestContext,
  dialect: ServerDialect = 'v0.1',
  options: TinkServerOptions = {},
): Promise<Fixture> {
  const server = await startTinkServer({ dialect, ...options });
  const worker = enrol(server);
  const clock = new VirtualClock();
  const machine = AgentMachine.forServer(worker, { clock, pollSeconds: 3, maxBackoffSeconds: 10 });
  server.subscribe(({ progress, actionName }) => machine.record(`${progress} ${actionName}`));
  test.after(async () => {
    // Before the client: resetting a connection that TLS is closing fails (EINVAL), and Node never
    // gets rid of such a socket.
    await server.stop();
    await machine[Symbol.asyncDispose]();
  });
  return {
    ...{ server, machine, clock, worker },
    createWorkflow(actions, name = 'example') {
      const template = templateOf(['task', 'one', actions]).replace('name: example', `name: ${name}`);
      return server.createWorkflow(server.createTemplate(name, template), { one: MACHINE_ONE.mac });
    },
    async recorded(workflowId, progress, actionName) {
      await server.waitFor(workflowId, (events) =>
        events.some((event) => event.progress === progress && event.actionName === actionName),
      );
    },
  };
}

/** The events of a workflow as `tink workflow events` lists them. */
function eventsOf(server: TinkServer, workflowId: string): string[] {
  return server.events(workflowId).map(({ progress, actionName }) => `${progress} ${actionName}`);
}

for (const dialect of ['v0.1', 'v0.2', 'v0.9'] as const) {
  test(`runAgent() runs the actions of a ${dialect} server in order, reporting each start before and each end after`, async (test) => {
    const { server, machine, createWorkflow, recorded } = await startFixture(test, dialect);
    const workflow = createWorkflow(['wipe', 'partition', 'write']);
    await machine.start();
    await recorded(workflow, 'SUCCESS', 'write');
    assert.deepEqual(
      machine.happened,
      ['wipe', 'partition', 'write'].flatMap((name) => [`RUNNING ${name}`, `run ${name}`, `SUCCESS ${name}`]),
    );
    assert.equal(server.panic, undefined);
  });

  test(`runAgent() reports FAILED and TIMEOUT with their reasons to a ${dialect} server and works on with other workflows`, async (test) => {
    const { server, machine, createWorkflow, recorded } = await startFixture(test, dialect);
    machine.runAction = (action) => {
      if (action.name === 'fails') return { verdict: 'FAILED', message: 'exit code 3: no space left' };
      return action.name === 'hangs' ? { verdict: 'TIMEOUT', message: 'no end after 60 s' } : {};
    };
    const failing = createWorkflow(['fails', 'never-a'], 'failing');
    const hanging = createWorkflow(['hangs', 'never-b'], 'hanging');
    const good = createWorkflow(['fine'], 'good');
    await machine.start();
    await recorded(good, 'SUCCESS', 'fine');
    await waitForPolls(server, 2);
    assert.deepEqual(eventsOf(server, failing), ['RUNNING fails', 'FAILED fails']);
    assert.deepEqual(eventsOf(server, hanging), ['RUNNING hangs', 'TIMEOUT hangs']);
    assert.ok(!machine.happened.some((what) => what.includes('never')));
    // v0.9 servers drop the message.
    if (dialect !== 'v0.9') assert.equal(server.events(failing).at(-1)?.message, 'exit code 3: no space left');
    assert.equal(server.panic, undefined);
  });

  test(`runAgent() does not run anything twice when answers of a ${dialect} server are lost`, async (test) => {
    const { server, machine, createWorkflow, recorded } = await startFixture(test, dialect);
    const workflow = createWorkflow(['one', 'two']);
    let reports = 0;
    server.interfere = (rpc) => {
      if (rpc !== 'ReportActionStatus') return undefined;
      reports += 1;
      return reports % 2 === 1 ? { kind: 'lose answer' } : undefined;
    };
    await machine.start();
    await recorded(workflow, 'SUCCESS', 'two');
    await waitForPolls(server, 2);
    assert.deepEqual(
      machine.happened.filter((what) => what.startsWith('run')),
      ['run one', 'run two'],
    );
    assert.deepEqual(eventsOf(server, workflow), ['RUNNING one', 'SUCCESS one', 'RUNNING two', 'SUCCESS two']);
    assert.equal(server.panic, undefined);
  });
}

test('runAgent() goes on as soon as a server that answers from a cache has seen the end of an action', async (test) => {
  const { machine, clock, createWorkflow, recorded } = await startFixture(test, 'v0.9', { oldAnswers: 3 });
  const workflow = createWorkflow(['one', 'two', 'three']);
  await machine.start({ pollSeconds: 3600 });
  await recorded(workflow, 'SUCCESS', 'three');
  assert.ok(clock.elapsedSeconds < 60, 'no poll was waited for');
  assert.deepEqual(
    machine.happened.filter((what) => what.startsWith('run')),
    ['run one', 'run two', 'run three'],
  );
  assert.doesNotMatch(machine.log.join('\n'), /reporting its result again/);
});

describe('an agent that is stopped and started again', () => {
  /** Stops the agent while the action `long` runs, and starts another one with the given policy. */
  async function interrupt({ machine, createWorkflow }: Fixture, interrupted: 'rerun' | 'fail'): Promise<string> {
    const workflow = createWorkflow(['short', 'long', 'last']);
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    machine.runAction = async ({ name }, signal) => {
      if (name !== 'long') return {};
      begin();
      const { promise, reject } = Promise.withResolvers<never>();
      signal.addEventListener('abort', () => reject(signal.reason));
      return promise;
    };
    await machine.start();
    await begun;
    await machine.stop();
    machine.record('restart');
    machine.runAction = () => ({});
    await machine.start({ interrupted });
    return workflow;
  }

  test('runs the interrupted action again when the policy is rerun, and nothing else', async (test) => {
    const fixture = await startFixture(test);
    const { server, machine, recorded } = fixture;
    const workflow = await interrupt(fixture, 'rerun');
    await recorded(workflow, 'SUCCESS', 'last');
    assert.deepEqual(
      machine.happened.filter((what) => !/RUNNING|SUCCESS/.test(what)),
      ['run short', 'run long', 'restart', 'run long', 'run last'],
    );
    assert.deepEqual(
      eventsOf(server, workflow).filter((event) => event.includes('long')),
      ['RUNNING long', 'SUCCESS long'],
    );
  });

  test('reports the interrupted action as failed when the policy is fail, with the reason, and does not run it', async (test) => {
    const fixture = await startFixture(test);
    const { server, machine, recorded } = fixture;
    const workflow = await interrupt(fixture, 'fail');
    await recorded(workflow, 'FAILED', 'long');
    await waitForPolls(server, 2);
    assert.deepEqual(
      machine.happened.filter((what) => !/RUNNING|SUCCESS/.test(what)),
      ['run short', 'run long', 'restart', 'FAILED long'],
    );
    assert.match(
      server.events(workflow).at(-1)?.message ?? '',
      /^interrupted: the agent or the machine stopped while the action ran/,
    );
  });

  test('treats an action as interrupted that the server shows as running and the journal does not have, as after a replacement of the machine', async (test) => {
    const { machine, worker, createWorkflow, recorded } = await startFixture(test);
    const workflow = createWorkflow(['long', 'last']);
    {
      await using transport = createServerTransport(worker);
      const signal = AbortSignal.timeout(10_000);
      const next = await transport.next(signal);
      assert.ok(next.kind === 'action');
      await transport.report({ kind: 'started', action: next.action, at: new Date() }, signal);
    }
    await machine.start({ interrupted: 'fail' });
    await recorded(workflow, 'FAILED', 'long');
    assert.ok(!machine.happened.includes('run long'));
  });

  test('sends the report that the earlier one could not send, and does not run the action again', async (test) => {
    const { server, machine, createWorkflow, recorded } = await startFixture(test);
    const workflow = createWorkflow(['one', 'two']);
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    machine.runAction = async () => {
      // The server goes while the action runs, so that its end cannot be reported.
      await server.stop();
      end();
      return { message: 'only the first agent knows this' };
    };
    await machine.start();
    await ended;
    await machine.logged(/cannot report the end of an action/);
    await machine.stop();

    await server.start();
    machine.runAction = () => ({});
    await machine.start();
    await recorded(workflow, 'SUCCESS', 'two');
    assert.deepEqual(
      machine.happened.filter((what) => what.startsWith('run')),
      ['run one', 'run two'],
    );
    assert.equal(
      server.events(workflow).find(({ progress }) => progress === 'SUCCESS')?.message,
      'only the first agent knows this',
    );
  });

  test('reboots the machine when the earlier one was stopped between the acknowledgement and the reboot', async (test) => {
    const { machine, createWorkflow, recorded } = await startFixture(test);
    const workflow = createWorkflow(['only']);
    await machine.start();
    await recorded(workflow, 'SUCCESS', 'only');
    {
      await machine.stop();
      await using journal = await openJournal(machine.stateDirectory, (message) => assert.fail(message));
      const action = {
        workflowId: workflow,
        taskName: 'task',
        name: 'only',
        id: '0/task/only',
        workerId: 'w',
        image: 'i',
      } as Action;
      await journal.acknowledged(action, true);
    }
    await machine.start({ finish: 'reboot' });
    await machine.until(() => machine.happened.includes('reboot'), 'the reboot');
  });
});

describe('the end of the work', () => {
  test('the machine reboots only after the server has acknowledged the last action', async (test) => {
    const { server, machine, createWorkflow } = await startFixture(test);
    const workflow = createWorkflow(['one', 'last']);
    const refused: string[] = [];
    server.interfere = (rpc) => {
      const { length } = machine.happened;
      if (rpc !== 'ReportActionStatus' || machine.happened[length - 1] !== 'run last' || refused.length === 5)
        return undefined;
      refused.push(rpc);
      return { kind: 'lose request' };
    };
    await machine.start({ finish: 'reboot' });
    await machine.until(() => machine.happened.includes('reboot'), 'the reboot');
    assert.equal(refused.length, 5);
    assert.deepEqual(machine.happened.slice(-3), ['run last', 'SUCCESS last', 'reboot']);
    assert.deepEqual(eventsOf(server, workflow).at(-1), 'SUCCESS last');
    await waitForPolls(server, 3);
    assert.equal(
      machine.happened.filter((what) => what === 'reboot').length,
      1,
      'once, even where the machine stays up',
    );
  });

  test('the machine is not touched while another workflow waits, and then once', async (test) => {
    const { machine, createWorkflow } = await startFixture(test);
    createWorkflow(['first'], 'first');
    createWorkflow(['second'], 'second');
    await machine.start({ finish: 'poweroff' });
    await machine.until(() => machine.happened.includes('poweroff'), 'the power-off');
    assert.deepEqual(
      machine.happened.filter((what) => !what.startsWith('RUNNING')),
      ['run first', 'SUCCESS first', 'run second', 'SUCCESS second', 'poweroff'],
    );
  });

  for (const [what, verdict, finish] of [
    ['failed', 'FAILED', 'reboot'],
    ['timed out', 'TIMEOUT', 'reboot'],
    ['succeeded, but the finish is none', 'SUCCESS', 'none'],
  ] as const) {
    test(`the machine is not touched when the last action ${what}`, async (test) => {
      const { server, machine, createWorkflow, recorded } = await startFixture(test);
      machine.runAction = () => ({ verdict });
      const workflow = createWorkflow(['last']);
      await machine.start({ finish });
      await recorded(workflow, verdict, 'last');
      await waitForPolls(server, 4);
      assert.deepEqual(machine.happened, ['RUNNING last', 'run last', `${verdict} last`]);
    });
  }

  test('a reboot that an action requests comes after the acknowledgement of its end', async (test) => {
    const { machine, createWorkflow, recorded } = await startFixture(test);
    const workflow = createWorkflow(['install', 'after-the-restart']);
    machine.runAction = ({ name }) => {
      machine.rebootRequested = name === 'install';
      return {};
    };
    await machine.start();
    await recorded(workflow, 'SUCCESS', 'after-the-restart');
    assert.deepEqual(machine.happened.slice(0, 4), ['RUNNING install', 'run install', 'SUCCESS install', 'reboot']);
  });
});

describe('trouble', () => {
  test('an outage of the server and its end are logged once each', async (test) => {
    const { server, machine, worker, createWorkflow, recorded } = await startFixture(test);
    const attempts = new EventEmitter<{ attempt: [] }>();
    const connect = () => {
      const transport = createServerTransport(worker);
      const next = transport.next.bind(transport);
      transport.next = (signal) => {
        attempts.emit('attempt');
        return next(signal);
      };
      return transport;
    };
    await machine.start({ connect });
    await waitForPolls(server, 2);
    await server.stop();
    for (let count = 0; count < 6; count++) await once(attempts, 'attempt');
    await server.start();
    const workflow = createWorkflow(['after']);
    await recorded(workflow, 'SUCCESS', 'after');
    await machine.logged(/INFO {2}could ask the server for work again after \d+ s, at attempt \d+/);
    const said = machine.log.filter((line) => line.includes('cannot ask the server for work'));
    assert.ok(said.length <= 3, said.join('\n'));
  });

  test('a server that refuses everything for a while gets the reports when it accepts them again', async (test) => {
    const { server, machine, createWorkflow, recorded } = await startFixture(test);
    const workflow = createWorkflow(['one']);
    let failures = 0;
    server.interfere = () => {
      failures += 1;
      return failures <= 12 && failures > 3 ? { kind: 'fail', code: 13, details: 'database is on fire' } : undefined;
    };
    await machine.start();
    await recorded(workflow, 'SUCCESS', 'one');
    assert.deepEqual(machine.happened, ['RUNNING one', 'run one', 'SUCCESS one']);
    assert.match(machine.log.join('\n'), /database is on fire/);
  });

  test('a workflow that is deleted while its action runs is dropped, without a report that would kill the server', async (test) => {
    const { server, machine, createWorkflow, recorded } = await startFixture(test);
    const doomed = createWorkflow(['doomed'], 'doomed');
    machine.runAction = ({ name }) => {
      if (name === 'doomed') server.deleteWorkflow(doomed);
      return {};
    };
    const good = createWorkflow(['fine'], 'good');
    await machine.start({ finish: 'none' });
    await recorded(good, 'SUCCESS', 'fine');
    assert.equal(server.panic, undefined);
    assert.match(
      machine.log.join('\n'),
      /the server rejected the result of the action \(SUCCESS\) as obsolete: doomed of workflow .*does not exist any more/,
    );
  });

  test('a runtime that throws makes the action fail, not the agent', async (test) => {
    const { server, machine, createWorkflow, recorded } = await startFixture(test);
    const workflow = createWorkflow(['broken']);
    machine.runAction = () => {
      throw new TypeError('undefined is not a container');
    };
    await machine.start();
    await recorded(workflow, 'FAILED', 'broken');
    assert.match(server.events(workflow).at(-1)?.message ?? '', /the agent failed: undefined is not a container/);
  });

  test('an action is not run while the journal cannot be written', async (test) => {
    const { machine, createWorkflow, recorded } = await startFixture(test);
    const workflow = createWorkflow(['careful']);
    let failures = 3;
    const wrapJournal = (journal: Journal) => {
      const write = journal.started.bind(journal);
      journal.started = async (action, at) => {
        failures -= 1;
        if (failures >= 0) throw new Error('cannot write to the journal: ENOSPC');
        assert.deepEqual(machine.happened, []);
        await write(action, at);
      };
      return journal;
    };
    await machine.start({ wrapJournal });
    await recorded(workflow, 'SUCCESS', 'careful');
    assert.match(
      machine.log.join('\n'),
      /cannot record the start of an action: cannot write to the journal: ENOSPC; trying again/,
    );
  });

  test('secrets of an action reach neither the report nor the log', async (test) => {
    const { server, machine, recorded } = await startFixture(test);
    const template = templateOf(['task', 'one', ['leaks']]).replace(
      'image: busybox',
      'image: busybox\n    environment: {API_TOKEN: canary-4711, DISK: /dev/sda}',
    );
    const workflow = server.createWorkflow(server.createTemplate('leaks', template), {
      one: MACHINE_ONE.mac,
    });
    machine.runAction = () => ({ verdict: 'FAILED', message: 'login with canary-4711 on /dev/sda failed' });
    await machine.start();
    await recorded(workflow, 'FAILED', 'leaks');
    assert.equal(server.events(workflow).at(-1)?.message, 'login with *** on /dev/sda failed');
    assert.match(machine.log.join('\n'), /login with \*\*\* on/);
    assert.doesNotMatch(machine.log.join('\n'), /canary/);

    // They are forgotten with their workflow: a word that was a secret there is none here.
    const next = server.createWorkflow(server.createTemplate('next', templateOf(['task', 'one', ['canary-4711']])), {
      one: MACHINE_ONE.mac,
    });
    await recorded(next, 'FAILED', 'canary-4711');
    assert.match(machine.log.join('\n'), /\[canary-4711\] the action starts/);
  });
});

function actionNamed(name: string): Action {
  return {
    ...{ workflowId: 'w', taskName: 't', name, id: '0', workerId: 'w', image: 'i' },
    ...{ command: [], environment: [], volumes: [], registryPrefix: 'always', sharesDirectory: true },
    ...{ timeoutSeconds: undefined, pidMode: undefined, networkMode: undefined, onTimeout: [], onFailure: [] },
  };
}

test('runAgent() does not run an action whose start the server rejects, and forgets that it began', async (test) => {
  const { machine } = await startFixture(test);
  const action = actionNamed('rejected');
  const reports: string[] = [];
  const over = Promise.withResolvers<void>();
  const transport: Transport = {
    next: async () => ({ kind: 'action', action, alreadyStarted: false }),
    report: async (event) => {
      reports.push(event.kind === 'ended' ? event.outcome.verdict : `${event.kind}, ${machine.happened.length} run`);
      if (event.kind === 'ended') over.resolve();
      if (reports.length === 1) return { kind: 'obsolete', reason: 'the workflow was deleted' };
      return { kind: 'acknowledged', workflowDone: true };
    },
    checkCancelled: async () => ({ kind: 'active' }),
    [Symbol.asyncDispose]: async () => {},
  };
  // With this policy an action of which the journal has a start would fail without being run.
  await machine.start({ connect: () => transport, interrupted: 'fail' });
  await over.promise;
  await machine.stop();
  assert.match(machine.log.join('\n'), /the action is not run: the workflow was deleted/);
  assert.deepEqual(reports.slice(0, 3), ['started, 0 run', 'started, 0 run', 'SUCCESS']);
});

test('runAgent() stops also while the journal cannot be written, and says what it could not record', async (test) => {
  const { machine, createWorkflow, clock } = await startFixture(test);
  createWorkflow(['endless']);
  const running = Promise.withResolvers<void>();
  const runtime = (): Runtime => ({
    async run(_action, signal, beforeStop) {
      running.resolve();
      await clock.wait(1_000_000, signal).catch(() => {});
      await beforeStop?.();
      throw signal.reason;
    },
    resume: async () => undefined,
    discard: async () => {},
    release: async () => {},
  });
  const wrapJournal = (journal: Journal) => {
    journal.stopping = async () => {
      throw new Error('cannot write to the journal: ENOSPC');
    };
    return journal;
  };
  await machine.start({ runtime, wrapJournal });
  await running.promise;
  await machine.stop();
  assert.match(machine.log.join('\n'), /cannot record that the action is stopped: cannot write to the journal: ENOSPC/);
  assert.match(machine.log.at(-1) ?? '', /the agent stops: it received SIGTERM/);
});

test('runAgent() reports an action again that the server requests again, and does not run it again', async (test) => {
  const { machine } = await startFixture(test);
  const action = actionNamed('again');
  // The fake servers in test/sandbox do not forget what they acknowledged; this one does only that.
  const reports: string[] = [];
  const enough = Promise.withResolvers<void>();
  const transport: Transport = {
    next: async (): Promise<Next> => ({ kind: 'action', action, alreadyStarted: true }),
    report: async (event) => {
      reports.push(event.kind === 'ended' ? event.outcome.verdict : event.kind);
      if (reports.length === 4) enough.resolve();
      return { kind: 'acknowledged', workflowDone: false };
    },
    checkCancelled: async () => ({ kind: 'active' }),
    [Symbol.asyncDispose]: async () => {},
  };
  await machine.start({ connect: () => transport });
  await enough.promise;
  await machine.stop();
  const verdicts: readonly (Verdict | 'started')[] = ['started', 'SUCCESS', 'SUCCESS', 'SUCCESS'];
  assert.deepEqual(reports.slice(0, 4), verdicts);
  assert.deepEqual(machine.happened, ['run again']);
});

test('runAgent() runs an action that ended before if a later workflow of that name begins with it', async (test) => {
  const { machine } = await startFixture(test);
  const first: Next = { kind: 'action', action: actionNamed('again'), alreadyStarted: false };
  const nothing: Next = { kind: 'idle', reason: 'nothing' };
  const answers = [first, nothing, first, nothing];
  const reports: string[] = [];
  const over = Promise.withResolvers<void>();
  const transport: Transport = {
    next: async () => {
      const answer = answers.shift();
      if (answer === undefined) over.resolve();
      return answer ?? nothing;
    },
    report: async (event) => {
      reports.push(event.kind === 'ended' ? event.outcome.verdict : event.kind);
      return { kind: 'acknowledged', workflowDone: event.kind === 'ended' };
    },
    checkCancelled: async () => ({ kind: 'active' }),
    [Symbol.asyncDispose]: async () => {},
  };
  await machine.start({ connect: () => transport });
  await over.promise;
  await machine.stop();
  assert.deepEqual(machine.happened, ['run again', 'run again']);
  assert.deepEqual(reports, ['started', 'SUCCESS', 'started', 'SUCCESS']);
});

test('runAgent() stops at once while it waits, and says why', async (test) => {
  const { machine } = await startFixture(test);
  await machine.start({ clock: systemClock, pollSeconds: 1000 });
  await machine.logged(/idle: /);
  const begin = performance.now();
  await machine.stop();
  assert.ok(performance.now() - begin < 2000);
  assert.match(machine.log.at(-1) ?? '', /the agent stops: it received SIGTERM/);
});

test('runAgent() keeps nothing of the polls that are over', async (test) => {
  const { machine } = await startFixture(test);
  const marks = new Map([
    [1000, Promise.withResolvers<number>()],
    [5000, Promise.withResolvers<number>()],
  ]);
  let polls = 0;
  const transport: Transport = {
    next: async (): Promise<Next> => {
      polls += 1;
      const mark = marks.get(polls);
      mark?.resolve(await reachableBytes());
      return { kind: 'idle', reason: 'nothing' };
    },
    report: async () => assert.fail('there is nothing to report'),
    checkCancelled: async () => assert.fail('no action runs'),
    [Symbol.asyncDispose]: async () => {},
  };
  await machine.start({ connect: () => transport, clock: systemClock, pollSeconds: 0 });
  const [before = 0, after = 0] = await Promise.all([...marks.values()].map(({ promise }) => promise));
  assert.ok(after - before < 100_000, `${after - before} bytes more after 4000 polls`);
});

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

/** What the garbage collector leaves of the heap. What has finalizers goes in several steps. */
async function reachableBytes(): Promise<number> {
  for (let step = 0; step < 4; step++) {
    collect();
    await setImmediate();
  }
  return process.memoryUsage().heapUsed;
}
