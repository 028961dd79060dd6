import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Action } from '../../../agent/action/action.ts';
import { containerName, labelsOf } from '../../../agent/runtime/container-identity.ts';
import { engineKinds, type RuntimeFixture, shell, startFixtureOf } from './runtime-fixture.ts';

const never = new AbortController().signal;

for (const kind of engineKinds)
  describe(kind, () => {
    let fixture: RuntimeFixture;
    before(async () => {
      fixture = await startFixtureOf(kind);
      // The first pull, with credentials, so that a process without them finds the image.
      await fixture.runtime.run(shell('true'), never);
    });
    after(() => fixture[Symbol.asyncDispose]());
    beforeEach(() => {
      fixture.events.length = 0;
    });

    /**
     * Runs an action in an agent of its own and kills that as soon as the action has printed
     * `ready`.
     */
    async function runAndKill(action: Action): Promise<void> {
      const script = join(import.meta.dirname, 'action-process.ts');
      const parameters = [
        script,
        JSON.stringify(fixture.control.location),
        fixture.workDirectory,
        fixture.registry.host,
      ];
      const agent = spawn(process.execPath, [...parameters, JSON.stringify(action)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const exited = once(agent, 'exit');
      for await (const line of createInterface({ input: agent.stdout })) {
        if (line.includes('"line":"ready"')) agent.kill('SIGKILL');
      }
      const [, signal] = await exited;
      assert.equal(signal, 'SIGKILL', 'the agent ended before the action said that it was ready');
    }

    /** Counts how often it was started, says ready, and goes on when the file `go` appears. */
    function counting(end: string, rest: Partial<Action> = {}): Action {
      return shell(
        `echo start >> /workflow/starts; echo ready; until [ -e /workflow/go ]; do sleep 0.05; done; echo went on; ${end}`,
        rest,
      );
    }

    function inWorkflow(action: Action, name: string): string {
      return join(fixture.workDirectory, action.workflowId, name);
    }

    /**
     * Docker keeps the output and sends it again; from containerd comes only what the first agent
     * has not read.
     */
    const earlier = kind === 'docker' ? ' | before that: ready' : '';
    const containers = () => fixture.control.containers();

    const untilEnded = (action: Action) => fixture.control.untilEnded(containerName(action, 'action'));

    test('a running container is adopted and awaited', async () => {
      const action = counting('exit 4');
      await runAndKill(action);
      const running = fixture.runtime.run(action, never);
      await fixture.untilEvent((event) => event.kind === 'started' && event.adopted);
      await appendFile(inWorkflow(action, 'go'), '');
      const outcome = await running;
      assert.equal(outcome.verdict, 'FAILED');
      assert.equal(outcome.message, `exit code 4: went on${earlier}`);
      assert.equal(await readFile(inWorkflow(action, 'starts'), 'utf8'), 'start\n');
      assert.deepEqual(fixture.output(), kind === 'docker' ? ['ready', 'went on'] : ['went on']);
      assert.deepEqual(await containers(), []);
    });

    test('the result of a container that ended meanwhile is read; it does not run again', async () => {
      for (const [end, verdict, message] of [
        ['exit 0', 'SUCCESS', 'finished successfully'],
        ['exit 4', 'FAILED', `exit code 4: went on${earlier}`],
      ] as const) {
        const action = counting(end);
        await runAndKill(action);
        await appendFile(inWorkflow(action, 'go'), '');
        await untilEnded(action);
        const outcome = await fixture.runtime.run(action, never);
        assert.equal(outcome.verdict, verdict);
        assert.equal(outcome.message, message);
        assert.equal(await readFile(inWorkflow(action, 'starts'), 'utf8'), 'start\n');
      }
      assert.deepEqual(await containers(), []);
    });

    test('the timeout counts from the start of the container, not from its adoption', async () => {
      const running = counting('exit 0', { timeoutSeconds: 1 });
      await runAndKill(running);
      await new Promise((resolve) => setTimeout(resolve, 1100));
      const outcome = await fixture.runtime.run(running, never);
      assert.equal(outcome.verdict, 'TIMEOUT');
      assert.ok(outcome.endedAt.getTime() - outcome.startedAt.getTime() >= 1000);

      const ended = counting('sleep 1; exit 0', { timeoutSeconds: 1 });
      await runAndKill(ended);
      await appendFile(inWorkflow(ended, 'go'), '');
      await untilEnded(ended);
      assert.equal((await fixture.runtime.run(ended, never)).verdict, 'TIMEOUT');
    });

    test('leftovers of other actions of this worker are removed, other containers not', async () => {
      const other = counting('exit 0');
      await runAndKill(other);
      const image = `${fixture.registry.host}/busybox:1`;
      await fixture.control.create('foreign', image);
      await fixture.control.create('other-worker', image, labelsOf({ ...other, workerId: 'worker-2' }, 'action'));
      try {
        const outcome = await fixture.runtime.run(shell('true'), never);
        assert.equal(outcome.verdict, 'SUCCESS');
        assert.deepEqual((await containers()).sort(), ['foreign', 'other-worker']);
        assert.ok(fixture.events.some((event) => event.kind === 'warning' && /left over/.test(event.message)));
      } finally {
        for (const name of ['foreign', 'other-worker']) await fixture.control.remove(name);
      }
    });

    test('discard() removes the container of an earlier agent, which runs or has exited, and no other', async () => {
      const other = counting('exit 0');
      await runAndKill(other);
      for (const end of ['running', 'exited']) {
        const action = counting('exit 143');
        await runAndKill(action);
        if (end === 'exited') {
          await appendFile(inWorkflow(action, 'go'), '');
          await untilEnded(action);
        }
        const runtime = fixture.createRuntime();
        await runtime.discard(action, never);
        assert.equal((await containers()).filter((name) => name.includes(containerName(action, 'action'))).length, 0);
        assert.equal(await runtime.resume(action, never), undefined);
        await runtime.discard(action, never);
      }
      assert.deepEqual(await containers(), []);
    });

    test('run() says so before it stops a container, and stops none that has exited', async () => {
      const stop = new AbortController();
      const states: string[] = [];
      const running = fixture.runtime.run(counting('exit 0'), stop.signal, async () => {
        states.push(...(await containers()));
      });
      await fixture.untilEvent((event) => event.kind === 'output' && event.line === 'ready');
      stop.abort(new Error('it received SIGTERM'));
      await assert.rejects(running, /it received SIGTERM/);
      assert.equal(states.length, 1, 'the container is there when its stop is announced');
      assert.deepEqual(await containers(), []);
      await fixture.runtime.run(shell('exit 4'), never, () => assert.fail('it exited by itself'));
    });

    test('a container that was made but never started is replaced', async () => {
      const action = shell('echo fresh');
      const image = `${fixture.registry.host}/busybox:1`;
      await fixture.control.create(containerName(action, 'action'), image, labelsOf(action, 'action'));
      assert.equal((await fixture.runtime.run(action, never)).verdict, 'SUCCESS');
      assert.deepEqual(fixture.output(), ['fresh']);
      assert.deepEqual(await containers(), []);
    });

    test('an action that ended can be resumed until it is released; resume() starts nothing', async () => {
      const action = shell('echo start >> /workflow/starts; exit 4');
      const first = fixture.createRuntime();
      assert.equal(await first.resume(action, never), undefined);
      assert.equal((await first.run(action, never)).verdict, 'FAILED');

      // As an agent that died before it had recorded the end, and one that came after it.
      const second = fixture.createRuntime();
      const outcome = await second.resume(action, never);
      assert.match(outcome?.message ?? '', /4/);
      assert.equal(await readFile(inWorkflow(action, 'starts'), 'utf8'), 'start\n');

      await second.release(action);
      assert.deepEqual(
        (await containers()).filter((name) => name.includes(containerName(action, 'action'))),
        [],
      );
      assert.equal(await fixture.createRuntime().resume(action, never), undefined);
    });
  });
