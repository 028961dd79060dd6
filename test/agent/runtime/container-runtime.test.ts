import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { after, before, beforeEach, describe, test } from 'node:test';
import { containerName } from '../../../agent/runtime/container-identity.ts';
import { createDockerRuntime } from '../../../agent/runtime/docker/runtime.ts';
import { busyboxImage } from '../../sandbox/busybox-image.ts';
import {
  actionOf,
  type DockerFixture,
  engineKinds,
  type RuntimeFixture,
  shell,
  startDockerFixture,
  startFixtureOf,
} from './runtime-fixture.ts';

const never = new AbortController().signal;

for (const kind of engineKinds)
  describe(kind, () => {
    let fixture: RuntimeFixture;
    before(async () => {
      fixture = await startFixtureOf(kind);
    });
    after(() => fixture[Symbol.asyncDispose]());
    beforeEach(() => {
      fixture.events.length = 0;
    });

    const containers = () => fixture.control.containers();

    test('an action runs with its command, environment, volumes and the directory of its workflow', async () => {
      const state = join(fixture.workDirectory, 'state');
      await mkdir(state);
      const action = shell('cat /workflow/data; echo "$GREETING"; echo out > /statedir/out; echo complaint >&2', {
        environment: ['GREETING=hello = world'],
        volumes: [`${state}:/statedir`, '/dev:/dev'],
      });
      const beganAt = Date.now();
      const outcome = await fixture.runtime.run(action, never);
      assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
      assert.equal(outcome.message, 'finished successfully');
      assert.ok(outcome.startedAt.getTime() >= beganAt && outcome.endedAt.getTime() >= outcome.startedAt.getTime());
      assert.deepEqual(fixture.output('stdout'), ['{}hello = world']);
      assert.deepEqual(fixture.output('stderr'), ['complaint']);
      assert.equal(await readFile(join(state, 'out'), 'utf8'), 'out\n');
      assert.deepEqual(await containers(), []);
    });

    test('an action of a server whose agents have no /workflow has none', async () => {
      const action = shell('ls -d /workflow', { sharesDirectory: false });
      const outcome = await fixture.runtime.run(action, never);
      assert.match(outcome.message, /^exit code 1: ls: \/workflow: No such file or directory$/);
      await assert.rejects(readFile(join(fixture.workDirectory, action.workflowId, 'data')), { code: 'ENOENT' });
    });

    test('the entry point of the image stays, and without a command its own is used', async () => {
      const image = await busyboxImage({ Entrypoint: ['/bin/echo', 'entry'], Cmd: ['own'] });
      await fixture.registry.push('entry:1', image);
      await fixture.runtime.run(actionOf([], { image: 'entry:1' }), never);
      await fixture.runtime.run(actionOf(['given', 'two words'], { image: 'entry:1' }), never);
      assert.deepEqual(fixture.output(), ['entry own', 'entry given two words']);
    });

    test('an entry point of the action replaces that of the image', async () => {
      const image = await busyboxImage({ Entrypoint: ['/bin/false'], Cmd: ['own'] });
      await fixture.registry.push('entry:2', image);
      const echo = { image: 'entry:2', entrypoint: ['echo'] };
      await fixture.runtime.run(actionOf(['given', 'two words'], echo), never);
      await fixture.runtime.run({ ...actionOf([], echo), entrypoint: ['/bin/echo', 'alone'] }, never);
      // As with tink-agent: the Docker Engine drops the CMD of the image then, containerd's adapter
      // keeps it.
      assert.deepEqual(fixture.output(), ['given two words', kind === 'containerd' ? 'alone own' : 'alone']);
    });

    test('an action reaches the devices and the processes of the machine', async () => {
      await fixture.runtime.run(
        shell('ls -d /dev/loop-control; cat /proc/1/comm; hostname', { pidMode: 'host' }),
        never,
      );
      const comm = (await readFile('/proc/1/comm', 'utf8')).trim();
      assert.deepEqual(fixture.output().slice(0, 2), ['/dev/loop-control', comm]);
    });

    test('the network is the one of the action, else the configured one, else that of the machine where no bridge is', async () => {
      const interfaces = shell('ls /sys/class/net | wc -l; readlink /proc/self/ns/net');
      await fixture.runtime.run(interfaces, never);
      await fixture.runtime.run({ ...interfaces, id: '1', networkMode: 'none' }, never);
      await fixture.createRuntime({ network: 'none' }).run({ ...interfaces, id: '2' }, never);
      const [, ofMachine, , none, , configured] = fixture.output();
      assert.equal(ofMachine, await readlink('/proc/self/ns/net'));
      assert.notEqual(none, ofMachine);
      assert.notEqual(configured, ofMachine);
    });

    test('a failure carries its exit code and the last lines, without secrets', async () => {
      const outcome = await fixture.runtime.run(shell('echo first; echo the canary sings >&2; exit 3'), never);
      assert.equal(outcome.verdict, 'FAILED');
      assert.match(outcome.message, /^exit code 3: /);
      assert.match(outcome.message, /the \*\*\* sings/);
      assert.match(outcome.message, /first/);
    });

    test('the message of a failure ends with its last line of standard error, every time', async () => {
      const messages = new Set<string>();
      for (let round = 0; round < 5; round++) {
        const action = shell('echo one; echo why >&2; echo two; exit 3', { id: String(round) });
        messages.add((await fixture.runtime.run(action, never)).message);
      }
      assert.deepEqual([...messages], ['exit code 3: why | before that: one | two']);
    });

    test('a failure by a signal names the signal', async () => {
      // The first process of a container ignores signals it has no handler for, except those from
      // outside.
      const action = shell('echo ready; while :; do sleep 0.1; done');
      const running = fixture.runtime.run(action, never);
      await fixture.untilEvent((event) => event.kind === 'output');
      await fixture.control.kill(containerName(action, 'action'));
      assert.deepEqual((await running).message, 'ended by SIGKILL (exit code 137): ready');
    });

    test('an action that cannot start fails with the plain reason of the engine', async () => {
      const reasons: [Parameters<typeof shell>[1], string[], RegExp][] = [
        [
          {},
          ['/does/not/exist'],
          /^could not be run: (?:exec: "\/does\/not\/exist": stat .*: no such file or directory|executable file `\/does\/not\/exist` not found: No such file or directory)$/,
        ],
        [
          { volumes: ['x:'] },
          ['true'],
          /could not be run: (?:invalid volume specification: 'x:'|cannot bind "x:": it is not of the form source:target\[:options\]|container directory cannot be empty)$/,
        ],
        [
          { environment: ['=x'] },
          ['true'],
          /could not be run: (?:invalid (?:environment )?variable: "?=x"?|cannot set the environment variable =x: it has no name)$/,
        ],
        [
          { networkMode: 'nonsense' },
          ['true'],
          /^could not be run: (?:network nonsense not found|unable to find network with name or ID nonsense: network not found|cannot use the network nonsense: with containerd .*)$/,
        ],
        [{ image: 'UPPER' }, ['true'], /could not be run: ".*\/UPPER" is not the name of an image: .*lower case/],
      ];
      for (const [rest, command, expected] of reasons) {
        const outcome = await fixture.runtime.run(actionOf(command, rest), never);
        assert.equal(outcome.verdict, 'FAILED', String(expected));
        assert.match(outcome.message, expected);
      }
      assert.deepEqual(await containers(), []);
    });

    test('an action over its timeout gets a signal and a grace period, and is TIMEOUT with any exit code', async () => {
      const polite = shell('trap "echo bye; exit 0" TERM; echo hello; while :; do sleep 0.05; done', {
        timeoutSeconds: 1,
      });
      const outcome = await fixture.runtime.run(polite, never);
      assert.equal(outcome.verdict, 'TIMEOUT');
      assert.equal(outcome.message, 'timed out after 1 s: bye | before that: hello');
      assert.deepEqual(await containers(), []);
    });

    test('an action over its timeout ends at the limit, without the time that its container takes to stop', async () => {
      await fixture.runtime.run(shell('true'), never);
      fixture.events.length = 0;
      // A first process has no default for SIGTERM: this one takes all of the grace.
      const action = shell('exec sleep 60', { timeoutSeconds: 1 });
      const runtime = fixture.createRuntime({ stopGraceSeconds: 2 });
      const running = runtime.run(action, never);
      await fixture.untilEvent((event) => event.kind === 'started');
      const startedAt = Date.now();
      const { verdict, endedAt } = await running;
      const knownAt = Date.now();
      await runtime.release(action);
      assert.equal(verdict, 'TIMEOUT');
      assert.ok(endedAt.getTime() - startedAt >= 900 && knownAt - endedAt.getTime() >= 1900);
    });

    test('a container that stops when asked ends the grace period', async () => {
      const runtime = fixture.createRuntime({ stopGraceSeconds: 120 });
      const action = shell('trap "exit 0" TERM; while :; do sleep 0.05; done', { timeoutSeconds: 1 });
      const startedAt = performance.now();
      assert.equal((await runtime.run(action, never)).verdict, 'TIMEOUT');
      await runtime.release(action);
      assert.ok(performance.now() - startedAt < 60_000);
    });

    test('an action that does not end when asked is killed', async () => {
      const stubborn = shell('trap "" TERM; while :; do sleep 0.05; done', { timeoutSeconds: 1 });
      const outcome = await fixture.runtime.run(stubborn, never);
      assert.equal(outcome.verdict, 'TIMEOUT');
      assert.deepEqual(await containers(), []);
    });

    test('an action without a limit, or with one of zero or less, gets the default', async () => {
      const runtime = fixture.createRuntime({ defaultTimeoutSeconds: 1 });
      for (const timeoutSeconds of [undefined, 0, -5]) {
        const outcome = await runtime.run(
          shell('trap exit TERM; while :; do sleep 0.05; done', { timeoutSeconds }),
          never,
        );
        assert.equal(outcome.verdict, 'TIMEOUT');
        assert.match(outcome.message, /after 1 s/);
      }
    });

    test('twenty actions that end about at their timeout have a result that agrees with their message', async () => {
      const ends = Array.from({ length: 20 }, (_, index) => (0.85 + index * 0.015).toFixed(3));
      const outcomes = await Promise.all(
        ends.map((seconds, index) =>
          fixture.runtime.run(
            shell(`sleep ${seconds}; exit 0`, { timeoutSeconds: 1, workerId: `edge-${index}` }),
            never,
          ),
        ),
      );
      for (const { verdict, message } of outcomes) {
        assert.ok(
          verdict === 'SUCCESS' ? message === 'finished successfully' : message.startsWith('timed out'),
          message,
        );
        assert.notEqual(verdict, 'FAILED');
      }
    });

    test('the command for failures runs after a failure, in the same environment, and does not change the result', async () => {
      const action = shell('echo failing > /workflow/state; exit 3', {
        environment: ['WHO=me'],
        onFailure: ['sh', '-c', 'echo "$WHO: $(cat /workflow/state)"; exit 5'],
        onTimeout: ['echo', 'not this'],
      });
      const outcome = await fixture.runtime.run(action, never);
      assert.equal(outcome.verdict, 'FAILED');
      assert.match(outcome.message, /exit code 3/);
      assert.deepEqual(fixture.output(), ['me: failing']);
      const ended = fixture.events.filter((event) => event.kind === 'ended');
      assert.deepEqual(
        ended.map(({ role, exitCode }) => [role, exitCode]),
        [
          ['action', 3],
          ['on-failure', 5],
        ],
      );
      assert.deepEqual(await containers(), []);
    });

    test('after a timeout its own command runs, or the one for failures where there is none', async () => {
      const late = { timeoutSeconds: 1, onFailure: ['echo', 'failure'] };
      await fixture.runtime.run(shell('exec sleep 60', { ...late, onTimeout: ['echo', 'timeout'] }), never);
      await fixture.runtime.run(shell('exec sleep 60', late), never);
      await fixture.runtime.run(shell('true', { ...late, onTimeout: ['echo', 'timeout'] }), never);
      assert.deepEqual(fixture.output(), ['timeout', 'failure']);
    });

    test('a command for failures that does not end is ended, and neither it nor a broken one changes the outcome', async () => {
      const runtime = fixture.createRuntime({ reactionTimeoutSeconds: 1 });
      for (const onFailure of [['sleep', '60'], ['/does/not/exist']]) {
        const action = shell('exit 3', { onFailure });
        const outcome = await runtime.run(action, never);
        await runtime.release(action);
        assert.equal(outcome.verdict, 'FAILED');
        assert.match(outcome.message, /exit code 3/);
      }
      const [, reaction] = fixture.events.filter((event) => event.kind === 'ended');
      assert.match(reaction?.message ?? '', /timed out after 1 s/);
      assert.ok(fixture.events.some((event) => event.kind === 'warning' && /on-failure command/.test(event.message)));
      assert.deepEqual(await containers(), []);
    });

    test('an aborted signal stops and removes the action before run() rejects with its reason', async () => {
      const controller = new AbortController();
      const action = shell('trap "echo bye > /workflow/end; exit 0" TERM; echo up; while :; do sleep 0.05; done');
      const running = fixture.runtime.run(action, controller.signal);
      await fixture.untilEvent((event) => event.kind === 'output');
      const reason = new Error('the machine is needed elsewhere');
      controller.abort(reason);
      await assert.rejects(running, (error) => error === reason);
      assert.deepEqual(await containers(), []);
      assert.equal(await readFile(join(fixture.workDirectory, action.workflowId, 'end'), 'utf8'), 'bye\n');
    });

    test('a foreign container with the name of the action does not block it', async () => {
      const action = shell('echo fine');
      await fixture.runtime.run(shell('true'), never);
      await fixture.control.create(containerName(action, 'action'), `${fixture.registry.host}/busybox:1`);
      try {
        assert.equal((await fixture.runtime.run(action, never)).verdict, 'SUCCESS');
        assert.deepEqual(await containers(), [containerName(action, 'action')]);
      } finally {
        await fixture.control.remove(containerName(action, 'action'));
      }
    });

    test('actions of the same name in different workflows, with any characters, do not conflict', async () => {
      const names = ['a b', 'ä/ö:ü', '-', '', 'x'.repeat(200)];
      const actions = [...names, ...names].map((name, index) => shell('true', { name, workerId: `name-${index}` }));
      const outcomes = await Promise.all(actions.map((action) => fixture.runtime.run(action, never)));
      assert.deepEqual(new Set(outcomes.map(({ verdict }) => verdict)), new Set(['SUCCESS']));
    });

    test('an action whose container is removed from outside fails, and its message says so', async () => {
      const action = shell('echo up; sleep 60');
      const running = fixture.runtime.run(action, never);
      await fixture.untilEvent((event) => event.kind === 'output');
      await fixture.control.remove(containerName(action, 'action'));
      const outcome = await running;
      assert.equal(outcome.verdict, 'FAILED');
      assert.match(outcome.message, /another program removed its container|ended by SIGKILL/);
    });

    test('a directory that cannot be made fails the action, not the agent', async () => {
      const file = join(fixture.workDirectory, 'file');
      await writeFile(file, '');
      await chmod(file, 0o600);
      const outcome = await fixture.createRuntime({ workDirectory: file }).run(shell('true'), never);
      assert.equal(outcome.verdict, 'FAILED');
      assert.match(outcome.message, /ENOTDIR/);
    });
  });

describe('docker alone', () => {
  let fixture: DockerFixture;
  before(async () => {
    fixture = await startDockerFixture();
  });
  after(() => fixture[Symbol.asyncDispose]());
  beforeEach(() => {
    fixture.events.length = 0;
  });

  test('actions are privileged unless the machine refuses that', async () => {
    const runtime = fixture.createRuntime({ privileges: undefined });
    const controller = new AbortController();
    const reason = new Error('seen enough');
    const ended = runtime.run(shell('exec sleep 60'), controller.signal).catch((error) => error);
    const started = fixture
      .untilEvent((event) => event.kind === 'started')
      .then(async () => {
        const [container] = await fixture.engine.docker.listContainers();
        const { HostConfig } = await fixture.engine.docker.getContainer(container?.Id ?? '').inspect();
        return HostConfig.Privileged;
      });
    // Whether the kernel starts it or not, the engine was asked for it.
    const seen = await Promise.race([started, ended]);
    if (seen !== true) assert.match(seen.message, /unable to apply caps: operation not permitted/);
    controller.abort(reason);
    await ended;
  });

  test('an engine that sends no events runs actions anyway', async () => {
    await using silent = await startProxy(fixture.engine.socketPath, (path) => !path.startsWith('/events'));
    const runtime = createDockerRuntime({ ...fixture.options, host: silent.socketPath });
    for (const [script, verdict] of [
      ['echo fine', 'SUCCESS'],
      ['exit 3', 'FAILED'],
      ['exit 137', 'FAILED'],
    ] as const) {
      const action = shell(script);
      const outcome = await runtime.run(action, never);
      await runtime.release(action);
      assert.equal(outcome.verdict, verdict, outcome.message);
    }
    assert.ok(silent.withheld.length >= 3);
    assert.deepEqual(await fixture.control.containers(), []);
  });

  /** Passes requests on to the engine; those that it withholds get no answer. */
  async function startProxy(engineSocketPath: string, passes: (path: string) => boolean) {
    const directory = await mkdtemp(join(tmpdir(), 'nibs-proxy-'));
    const socketPath = join(directory, 'docker.sock');
    const withheld: string[] = [];
    const server = createServer((incoming, answer) => {
      const { method, url: path = '', headers } = incoming;
      if (!passes(path)) return void withheld.push(path);
      const outgoing = request({ socketPath: engineSocketPath, method, path, headers }, (response) => {
        answer.writeHead(response.statusCode ?? 500, response.headers);
        answer.flushHeaders();
        pipeline(response, answer, () => {});
      });
      outgoing.on('error', () => answer.destroy());
      pipeline(incoming, outgoing, () => {});
    });
    server.listen(socketPath);
    await once(server, 'listening');
    return {
      socketPath,
      withheld,
      async [Symbol.asyncDispose]() {
        server.close();
        server.closeAllConnections();
        await rm(directory, { recursive: true });
      },
    };
  }
});
