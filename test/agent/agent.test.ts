/**
 * The loop against the played server through the real transport and with the real journal. What runs the actions here is a function of the test,
 * because the order of things is what is looked at; main.test.ts has the real engine.
 */
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Action, Outcome, Verdict } from '../../agent/action/action.ts';
import { type AgentDependencies, runAgent } from '../../agent/agent.ts';
import { type Journal, openJournal } from '../../agent/journal.ts';
import { createLog } from '../../agent/log/log.ts';
import { createRedactor } from '../../agent/log/redact.ts';
import { type Finish, PowerError } from '../../agent/power/power.ts';
import { createServerTransport } from '../../agent/transport/grpc/server.ts';
import type { Next, Transport } from '../../agent/transport/transport.ts';
import { systemClock } from '../../clock/system.ts';
import { hardwareJson, MACHINE_ONE, templateOf } from '../sandbox/tink-server/example.ts';
import {
  onKubernetes,
  type ServerDialect,
  startTinkServer,
  type TinkServer,
  type TinkServerOptions,
} from '../sandbox/tink-server/server.ts';
import { VirtualClock } from '../sandbox/virtual-clock.ts';

/** What an action does in these tests. */
type Run = (action: Action, signal: AbortSignal) => Promise<Partial<Outcome>> | Partial<Outcome>;

/** A provisioner, and a machine on which one agent after the other can be started. */
class Bench implements AsyncDisposable {
  readonly server: TinkServer;
  readonly stateDirectory: string;
  /** What happened, in order: `run wipe`, `SUCCESS wipe` (as the server recorded it), `reboot`. */
  readonly happened: string[] = [];
  readonly log: string[] = [];
  run: Run = () => ({});
  readonly clock = new VirtualClock();
  rebootRequested = false;
  readonly #transports: Transport[] = [];
  #agent: { stop: AbortController; done: Promise<void>; journal: Journal } | undefined;

  constructor(server: TinkServer, stateDirectory: string) {
    this.server = server;
    this.stateDirectory = stateDirectory;
    server.subscribe(({ progress, actionName }) => this.happened.push(`${progress} ${actionName}`));
  }

  createWorkflow(actions: readonly string[], name = 'example'): string {
    const template = this.server.createTemplate(
      name,
      templateOf(['task', 'one', actions]).replace('name: example', `name: ${name}`),
    );
    return this.server.createWorkflow(template, { one: MACHINE_ONE.mac });
  }

  async start(parts: Partial<AgentDependencies> = {}): Promise<void> {
    const stop = new AbortController();
    const journal = await openJournal(this.stateDirectory, (message) => assert.fail(message));
    const redactor = createRedactor();
    const done = runAgent(
      {
        transport: this.connect(),
        runtime: {
          run: async (action, signal) => {
            this.happened.push(`run ${action.name}`);
            const startedAt = new Date();
            const outcome = await this.run(action, signal);
            return { verdict: 'SUCCESS', message: 'exit code 0', startedAt, endedAt: new Date(), ...outcome };
          },
          resume: async () => undefined,
          release: async () => {},
        },
        journal,
        power: {
          rebootRequested: async () => this.rebootRequested,
          finish: async (how: Finish) => {
            this.happened.push(how);
            this.rebootRequested = false;
            throw new PowerError({ what: 'reboot', target: 'the machine', why: 'this machine stays up' });
          },
        },
        log: createLog({ level: 'info', format: 'text', redactor, write: (line) => this.log.push(line) }),
        redactor,
        interrupted: 'rerun',
        finish: 'none',
        clock: this.clock,
        pollSeconds: 3,
        maxBackoffSeconds: 10,
        ...parts,
      },
      stop.signal,
    );
    this.#agent = { stop, done, journal };
  }

  /** The agent stops as by SIGTERM. What it leaves is what a killed one leaves: nothing is written on the way out. */
  async stop(): Promise<void> {
    if (this.#agent === undefined) return;
    const { stop, done, journal } = this.#agent;
    this.#agent = undefined;
    stop.abort(new Error('it received SIGTERM'));
    await done;
    await journal[Symbol.asyncDispose]();
  }

  connect(): Transport {
    const kubernetes = this.server.dialect === 'v0.9';
    const transport = createServerTransport({
      authority: this.server.authority,
      workerId: kubernetes ? MACHINE_ONE.mac : MACHINE_ONE.id,
      rpcTimeoutSeconds: 5,
      ...(kubernetes ? { tls: false } : { certificateUrl: this.server.certificateUrl }),
    });
    this.#transports.push(transport);
    return transport;
  }

  /** Until the server has recorded this as often. */
  async recorded(workflowId: string, progress: string, actionName: string): Promise<void> {
    await this.server.waitFor(workflowId, (events) =>
      events.some((event) => event.progress === progress && event.actionName === actionName),
    );
  }

  /** Until the agent has asked for work that often from now on. */
  async polls(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const question = onKubernetes(this.server.dialect) ? 'GetWorkflowContexts' : 'GetWorkflowContextList';
    let left = count;
    using _ = this.server.subscribeToCalls((rpc) => {
      if (rpc === question) left -= 1;
      if (left === 0) resolve();
    });
    await promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    // Before the clients: resetting a connection that TLS is closing fails (EINVAL), and Node never gets rid of such a socket.
    await this.server.stop();
    for (const transport of this.#transports) await transport[Symbol.asyncDispose]();
    await rm(this.stateDirectory, { recursive: true });
  }
}

async function startBench(
  test: TestContext,
  dialect: ServerDialect = 'v0.1',
  options: TinkServerOptions = {},
): Promise<Bench> {
  const server = await startTinkServer({ dialect, ...options });
  server.pushHardware(hardwareJson(MACHINE_ONE));
  const bench = new Bench(server, await mkdtemp(join(tmpdir(), 'nibs-agent-')));
  test.after(() => bench[Symbol.asyncDispose]());
  return bench;
}

/** The events of a workflow as `tink workflow events` would list them. */
function eventsOf(bench: Bench, workflowId: string): string[] {
  return bench.server.events(workflowId).map(({ progress, actionName }) => `${progress} ${actionName}`);
}

for (const dialect of ['v0.1', 'v0.2', 'v0.9'] as const) {
  test(`runAgent() runs the actions of a ${dialect} server in order, reporting each start before and each end after`, async (test) => {
    const bench = await startBench(test, dialect);
    const workflow = bench.createWorkflow(['wipe', 'partition', 'write']);
    await bench.start();
    await bench.recorded(workflow, 'SUCCESS', 'write');
    assert.deepEqual(
      bench.happened,
      ['wipe', 'partition', 'write'].flatMap((name) => [`RUNNING ${name}`, `run ${name}`, `SUCCESS ${name}`]),
    );
    assert.equal(bench.server.panic, undefined);
  });

  test(`runAgent() reports FAILED and TIMEOUT with their reasons to a ${dialect} server and works on with other workflows`, async (test) => {
    const bench = await startBench(test, dialect);
    bench.run = (action) => {
      if (action.name === 'fails') return { verdict: 'FAILED', message: 'exit code 3: no space left' };
      return action.name === 'hangs' ? { verdict: 'TIMEOUT', message: 'no end after 60 s' } : {};
    };
    const failing = bench.createWorkflow(['fails', 'never-a'], 'failing');
    const hanging = bench.createWorkflow(['hangs', 'never-b'], 'hanging');
    const good = bench.createWorkflow(['fine'], 'good');
    await bench.start();
    await bench.recorded(good, 'SUCCESS', 'fine');
    await bench.polls(2);
    assert.deepEqual(eventsOf(bench, failing), ['RUNNING fails', 'FAILED fails']);
    assert.deepEqual(eventsOf(bench, hanging), ['RUNNING hangs', 'TIMEOUT hangs']);
    assert.ok(!bench.happened.some((what) => what.includes('never')));
    // v0.9 servers drop the message.
    if (dialect !== 'v0.9') assert.equal(bench.server.events(failing).at(-1)?.message, 'exit code 3: no space left');
    assert.equal(bench.server.panic, undefined);
  });

  test(`runAgent() does not run anything twice when answers of a ${dialect} server are lost`, async (test) => {
    const bench = await startBench(test, dialect);
    const workflow = bench.createWorkflow(['one', 'two']);
    let reports = 0;
    bench.server.interfere = (rpc) => {
      if (rpc !== 'ReportActionStatus') return undefined;
      reports += 1;
      return reports % 2 === 1 ? { kind: 'lose answer' } : undefined;
    };
    await bench.start();
    await bench.recorded(workflow, 'SUCCESS', 'two');
    await bench.polls(2);
    assert.deepEqual(
      bench.happened.filter((what) => what.startsWith('run')),
      ['run one', 'run two'],
    );
    assert.deepEqual(eventsOf(bench, workflow), ['RUNNING one', 'SUCCESS one', 'RUNNING two', 'SUCCESS two']);
    assert.equal(bench.server.panic, undefined);
  });
}

test('runAgent() goes on as soon as a server that answers from an old copy has seen the end of an action', async (test) => {
  const bench = await startBench(test, 'v0.9', { oldAnswers: 3 });
  const workflow = bench.createWorkflow(['one', 'two', 'three']);
  await bench.start({ pollSeconds: 3600 });
  await bench.recorded(workflow, 'SUCCESS', 'three');
  assert.ok(bench.clock.elapsedSeconds < 60, 'no poll was waited for');
  assert.deepEqual(
    bench.happened.filter((what) => what.startsWith('run')),
    ['run one', 'run two', 'run three'],
  );
  assert.doesNotMatch(bench.log.join('\n'), /reported again/);
});

describe('an agent that is stopped and started again', () => {
  /** Stops the agent while the action `long` runs, and starts another one with the given policy. */
  async function interrupt(bench: Bench, interrupted: 'rerun' | 'fail'): Promise<string> {
    const workflow = bench.createWorkflow(['short', 'long', 'last']);
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    bench.run = async ({ name }, signal) => {
      if (name !== 'long') return {};
      begin();
      const { promise, reject } = Promise.withResolvers<never>();
      signal.addEventListener('abort', () => reject(signal.reason));
      return promise;
    };
    await bench.start();
    await begun;
    await bench.stop();
    bench.happened.push('restart');
    bench.run = () => ({});
    await bench.start({ interrupted });
    return workflow;
  }

  test('runs the interrupted action again when the policy is rerun, and nothing else', async (test) => {
    const bench = await startBench(test);
    const workflow = await interrupt(bench, 'rerun');
    await bench.recorded(workflow, 'SUCCESS', 'last');
    assert.deepEqual(
      bench.happened.filter((what) => !/RUNNING|SUCCESS/.test(what)),
      ['run short', 'run long', 'restart', 'run long', 'run last'],
    );
    assert.deepEqual(
      eventsOf(bench, workflow).filter((event) => event.includes('long')),
      ['RUNNING long', 'SUCCESS long'],
    );
  });

  test('reports the interrupted action as failed when the policy is fail, with the reason, and does not run it', async (test) => {
    const bench = await startBench(test);
    const workflow = await interrupt(bench, 'fail');
    await bench.recorded(workflow, 'FAILED', 'long');
    await bench.polls(2);
    assert.deepEqual(
      bench.happened.filter((what) => !/RUNNING|SUCCESS/.test(what)),
      ['run short', 'run long', 'restart', 'FAILED long'],
    );
    assert.match(
      bench.server.events(workflow).at(-1)?.message ?? '',
      /^interrupted: the agent or the machine stopped while the action ran/,
    );
  });

  test('treats an action as interrupted that the server shows as running and the journal does not know, as after a loss of the machine', async (test) => {
    const bench = await startBench(test);
    const workflow = bench.createWorkflow(['long', 'last']);
    const transport = bench.connect();
    const signal = AbortSignal.timeout(10_000);
    const next = await transport.next(signal);
    assert.ok(next.kind === 'action');
    await transport.report({ kind: 'started', action: next.action, at: new Date() }, signal);
    await bench.start({ interrupted: 'fail' });
    await bench.recorded(workflow, 'FAILED', 'long');
    assert.ok(!bench.happened.includes('run long'));
  });

  test('sends the report that the earlier one could not send, and does not run the action again', async (test) => {
    const bench = await startBench(test);
    const workflow = bench.createWorkflow(['one', 'two']);
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    bench.run = async () => {
      // The server goes while the action runs, so that its end cannot be reported.
      await bench.server.stop();
      end();
      return { message: 'only the first agent knows this' };
    };
    await bench.start();
    await ended;
    await waitForLog(bench, /cannot report the end of an action/);
    await bench.stop();

    await bench.server.start();
    bench.run = () => ({});
    await bench.start();
    await bench.recorded(workflow, 'SUCCESS', 'two');
    assert.deepEqual(
      bench.happened.filter((what) => what.startsWith('run')),
      ['run one', 'run two'],
    );
    assert.equal(
      bench.server.events(workflow).find(({ progress }) => progress === 'SUCCESS')?.message,
      'only the first agent knows this',
    );
  });

  test('finishes the machine when the earlier one was stopped between the acknowledgement and that', async (test) => {
    const bench = await startBench(test);
    const workflow = bench.createWorkflow(['only']);
    await bench.start();
    await bench.recorded(workflow, 'SUCCESS', 'only');
    {
      await bench.stop();
      await using journal = await openJournal(bench.stateDirectory, (message) => assert.fail(message));
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
    await bench.start({ finish: 'reboot' });
    await waitUntil(() => bench.happened.includes('reboot'));
  });
});

/** Checks every 10 ms, for what has no event of its own. @throws after 20 s */
async function waitUntil(condition: () => boolean): Promise<void> {
  for (const deadline = performance.now() + 20_000; !condition(); ) {
    assert.ok(performance.now() < deadline, 'waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function waitForLog(bench: Bench, pattern: RegExp): Promise<void> {
  await waitUntil(() => bench.log.some((line) => pattern.test(line)));
}

describe('the end of the work', () => {
  test('the machine restarts only after the server has acknowledged the last action', async (test) => {
    const bench = await startBench(test);
    const workflow = bench.createWorkflow(['one', 'last']);
    const refused: string[] = [];
    bench.server.interfere = (rpc) => {
      const { length } = bench.happened;
      if (rpc !== 'ReportActionStatus' || bench.happened[length - 1] !== 'run last' || refused.length === 5)
        return undefined;
      refused.push(rpc);
      return { kind: 'lose request' };
    };
    await bench.start({ finish: 'reboot' });
    await waitUntil(() => bench.happened.includes('reboot'));
    assert.equal(refused.length, 5);
    assert.deepEqual(bench.happened.slice(-3), ['run last', 'SUCCESS last', 'reboot']);
    assert.deepEqual(eventsOf(bench, workflow).at(-1), 'SUCCESS last');
    await bench.polls(3);
    assert.equal(bench.happened.filter((what) => what === 'reboot').length, 1, 'once, even where the machine stays up');
  });

  test('the machine is not touched while another workflow waits, and then once', async (test) => {
    const bench = await startBench(test);
    bench.createWorkflow(['first'], 'first');
    bench.createWorkflow(['second'], 'second');
    await bench.start({ finish: 'poweroff' });
    await waitUntil(() => bench.happened.includes('poweroff'));
    assert.deepEqual(
      bench.happened.filter((what) => !what.startsWith('RUNNING')),
      ['run first', 'SUCCESS first', 'run second', 'SUCCESS second', 'poweroff'],
    );
  });

  for (const [what, verdict, finish] of [
    ['failed', 'FAILED', 'reboot'],
    ['timed out', 'TIMEOUT', 'reboot'],
    ['succeeded, but nothing is to be done then', 'SUCCESS', 'none'],
  ] as const) {
    test(`the machine is not touched when the last action ${what}`, async (test) => {
      const bench = await startBench(test);
      bench.run = () => ({ verdict });
      const workflow = bench.createWorkflow(['last']);
      await bench.start({ finish });
      await bench.recorded(workflow, verdict, 'last');
      await bench.polls(4);
      assert.deepEqual(bench.happened, ['RUNNING last', 'run last', `${verdict} last`]);
    });
  }

  test('a restart that an action asks for comes after the acknowledgement of its end', async (test) => {
    const bench = await startBench(test);
    const workflow = bench.createWorkflow(['install', 'after-the-restart']);
    bench.run = ({ name }) => {
      bench.rebootRequested = name === 'install';
      return {};
    };
    await bench.start();
    await bench.recorded(workflow, 'SUCCESS', 'after-the-restart');
    assert.deepEqual(bench.happened.slice(0, 4), ['RUNNING install', 'run install', 'SUCCESS install', 'reboot']);
  });
});

describe('trouble', () => {
  test('an outage of the server and its end are logged once each', async (test) => {
    const bench = await startBench(test);
    const transport = bench.connect();
    const attempts = new EventEmitter<{ attempt: [] }>();
    await bench.start({
      transport: {
        next: (signal) => {
          attempts.emit('attempt');
          return transport.next(signal);
        },
        report: (event, signal) => transport.report(event, signal),
        checkCancelled: (action, signal) => transport.checkCancelled(action, signal),
        [Symbol.asyncDispose]: async () => {},
      },
    });
    await bench.polls(2);
    await bench.server.stop();
    for (let count = 0; count < 6; count++) await once(attempts, 'attempt');
    await bench.server.start();
    const workflow = bench.createWorkflow(['after']);
    await bench.recorded(workflow, 'SUCCESS', 'after');
    await waitForLog(bench, /INFO {2}could ask the server for work again after \d+ s, at attempt \d+/);
    const said = bench.log.filter((line) => line.includes('cannot ask the server for work'));
    assert.ok(said.length <= 3, said.join(''));
  });

  test('a server that refuses everything for a while gets the reports when it is well again', async (test) => {
    const bench = await startBench(test);
    const workflow = bench.createWorkflow(['one']);
    let failures = 0;
    bench.server.interfere = () => {
      failures += 1;
      return failures <= 12 && failures > 3 ? { kind: 'fail', code: 13, details: 'database is on fire' } : undefined;
    };
    await bench.start();
    await bench.recorded(workflow, 'SUCCESS', 'one');
    assert.deepEqual(bench.happened, ['RUNNING one', 'run one', 'SUCCESS one']);
    assert.match(bench.log.join(''), /database is on fire/);
  });

  test('a workflow that is deleted while its action runs is dropped, without a report that would kill the server', async (test) => {
    const bench = await startBench(test);
    const doomed = bench.createWorkflow(['doomed'], 'doomed');
    bench.run = ({ name }) => {
      if (name === 'doomed') bench.server.deleteWorkflow(doomed);
      return {};
    };
    const good = bench.createWorkflow(['fine'], 'good');
    await bench.start({ finish: 'none' });
    await bench.recorded(good, 'SUCCESS', 'fine');
    assert.equal(bench.server.panic, undefined);
    assert.match(
      bench.log.join(''),
      /the server rejected the result of the action \(SUCCESS\) as obsolete: doomed of workflow .*does not exist any more/,
    );
  });

  test('a runtime that breaks its promise and throws makes the action fail, not the agent', async (test) => {
    const bench = await startBench(test);
    const workflow = bench.createWorkflow(['broken']);
    bench.run = () => {
      throw new TypeError('undefined is not a container');
    };
    await bench.start();
    await bench.recorded(workflow, 'FAILED', 'broken');
    assert.match(bench.server.events(workflow).at(-1)?.message ?? '', /the agent failed: undefined is not a container/);
  });

  test('an action is not run while the journal cannot be written', async (test) => {
    const bench = await startBench(test);
    const workflow = bench.createWorkflow(['careful']);
    await using journal = await openJournal(join(bench.stateDirectory, 'other'), (message) => assert.fail(message));
    let failures = 3;
    const write = journal.started.bind(journal);
    journal.started = async (action, at) => {
      failures -= 1;
      if (failures >= 0) throw new Error('cannot write to the journal: ENOSPC');
      assert.deepEqual(bench.happened, []);
      await write(action, at);
    };
    await bench.start({ journal });
    await bench.recorded(workflow, 'SUCCESS', 'careful');
    assert.match(
      bench.log.join(''),
      /cannot record the start of an action: cannot write to the journal: ENOSPC; trying again/,
    );
    await bench.stop();
  });

  test('secrets of an action reach neither the report nor the log', async (test) => {
    const bench = await startBench(test);
    const template = templateOf(['task', 'one', ['leaks']]).replace(
      'image: busybox',
      'image: busybox\n    environment: {API_TOKEN: canary-4711, DISK: /dev/sda}',
    );
    const workflow = bench.server.createWorkflow(bench.server.createTemplate('leaks', template), {
      one: MACHINE_ONE.mac,
    });
    bench.run = () => ({ verdict: 'FAILED', message: 'login with canary-4711 on /dev/sda failed' });
    await bench.start();
    await bench.recorded(workflow, 'FAILED', 'leaks');
    assert.equal(bench.server.events(workflow).at(-1)?.message, 'login with *** on /dev/sda failed');
    assert.match(bench.log.join(''), /login with \*\*\* on/);
    assert.doesNotMatch(bench.log.join(''), /canary/);
  });
});

test('runAgent() reports an action again that the server asks for again, and does not run it again', async (test) => {
  const bench = await startBench(test);
  const action: Action = {
    ...{
      workflowId: 'w',
      taskName: 't',
      name: 'again',
      id: '0',
      workerId: 'w',
      image: 'i',
      command: [],
      environment: [],
      volumes: [],
    },
    ...{ registryPrefix: 'always' as const, sharesDirectory: true },
    ...{ timeoutSeconds: undefined, pidMode: undefined, networkMode: undefined, onTimeout: [], onFailure: [] },
  };
  // A server that forgets what it acknowledged is none that is played in test/sandbox; this one does nothing but that.
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
  await bench.start({ transport });
  await enough.promise;
  await bench.stop();
  const verdicts: readonly (Verdict | 'started')[] = ['started', 'SUCCESS', 'SUCCESS', 'SUCCESS'];
  assert.deepEqual(reports.slice(0, 4), verdicts);
  assert.deepEqual(bench.happened, ['run again']);
});

test('runAgent() stops at once while it waits, and says why', async (test) => {
  const bench = await startBench(test);
  await bench.start({ clock: systemClock, pollSeconds: 1000 });
  await waitForLog(bench, /idle: /);
  const begin = performance.now();
  await bench.stop();
  assert.ok(performance.now() - begin < 2000);
  assert.match(bench.log.at(-1) ?? '', /the agent stops: it received SIGTERM/);
});

test('runAgent() keeps nothing of the polls that are over', async (test) => {
  const bench = await startBench(test);
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
  await bench.start({ transport, clock: systemClock, pollSeconds: 0 });
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
