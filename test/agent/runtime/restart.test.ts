import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { execa } from 'execa';
import { busyboxImage } from '../../sandbox/busybox-image.ts';
import { engineKinds, type RuntimeFixture, shell, startDockerFixture, startFixtureOf } from './runtime-fixture.ts';

const never = new AbortController().signal;

function engineEvents({ events }: RuntimeFixture): boolean[] {
  return events.flatMap((event) => (event.kind === 'engine' ? [event.reachable] : []));
}

/**
 * Runs an action that ends by itself, with success, after `stop` has ended its engine and before
 * the engine is started again.
 */
async function endWhileDown(fixture: RuntimeFixture, stop: () => Promise<void>) {
  const action = shell('echo up; until [ -e /workflow/go ]; do sleep 0.02; done; echo done > /workflow/done');
  const running = fixture.runtime.run(action, never);
  await fixture.untilEvent((event) => event.kind === 'output');
  await stop();
  await appendFile(join(fixture.workDirectory, action.workflowId, 'go'), '');
  await fixture.untilEvent((event) => event.kind === 'engine' && !event.reachable);
  await fixture.control.start();
  const { verdict, message } = await running;
  return { verdict, message };
}

/** containerd 1.7 and newer delete a task that has no process when they start. */
async function containerdKeepsExitCodes(): Promise<boolean> {
  const { stdout } = await execa('containerd', ['--version']);
  const [, major = '', minor = ''] = / v?(\d+)\.(\d+)\./.exec(stdout) ?? [];
  assert.notEqual(major, '', `containerd --version prints no version: ${stdout}`);
  return Number(major) === 1 && Number(minor) < 7;
}

for (const kind of engineKinds)
  describe(kind, () => {
    test('an engine that does not answer yet is awaited, and logged once', async () => {
      await using fixture = await startFixtureOf(kind, { started: false });
      const running = fixture.runtime.run(shell('echo hello'), never);
      await fixture.untilEvent((event) => event.kind === 'engine' && !event.reachable);
      await fixture.control.start();
      assert.equal((await running).verdict, 'SUCCESS');
      assert.deepEqual(fixture.output(), ['hello']);
      assert.deepEqual(engineEvents(fixture), [false, true]);
    });

    test('an aborted signal ends the wait for an engine', async () => {
      await using fixture = await startFixtureOf(kind, { started: false });
      const controller = new AbortController();
      const running = fixture.runtime.run(shell('true'), controller.signal);
      await fixture.untilEvent((event) => event.kind === 'engine');
      const reason = new Error('enough');
      controller.abort(reason);
      await assert.rejects(running, (error) => error === reason);
    });

    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      test(`an action that runs on without its engine (ended by ${signal}) is followed to its end`, async () => {
        await using fixture = await startFixtureOf(kind, { liveRestore: true });
        const action = shell('i=0; until [ -e /workflow/go ]; do echo $((i=i+1)); sleep 0.02; done; echo last; exit 7');
        const running = fixture.runtime.run(action, never);
        await fixture.untilEvent((event) => event.kind === 'output' && event.line === '5');
        await fixture.control.stop(signal);
        await fixture.untilEvent((event) => event.kind === 'engine' && !event.reachable);
        await fixture.control.start();
        await fixture.untilEvent((event) => event.kind === 'engine' && event.reachable);
        const before = Number(fixture.output().at(-1));
        await fixture.untilEvent((event) => event.kind === 'output' && Number(event.line) > before + 5);
        await appendFile(join(fixture.workDirectory, action.workflowId, 'go'), '');
        const outcome = await running;
        assert.equal(outcome.verdict, 'FAILED');
        assert.match(outcome.message, /^exit code 7, the container engine was unavailable meanwhile: last/);
        assert.deepEqual(engineEvents(fixture), [false, true]);
        assert.deepEqual(await fixture.control.containers(), []);
      });
    }

    test('the exit code of an action that ends while containerd is down is reported if containerd keeps it', async () => {
      await using fixture = await startFixtureOf(kind, { liveRestore: true });
      const outcome = await endWhileDown(fixture, () => fixture.control.stop());
      if (await containerdKeepsExitCodes())
        assert.deepEqual(outcome, { verdict: 'SUCCESS', message: 'finished successfully' });
      else {
        assert.equal(outcome.verdict, 'FAILED');
        assert.match(outcome.message, /^exit code 255, or lost \(containerd 1\.7 and newer do not keep/);
      }
    });

    test('the limit of an action does not stop while its engine is away', async () => {
      await using fixture = await startFixtureOf(kind, { liveRestore: true });
      const running = fixture.runtime.run(shell('echo up; while :; do sleep 0.05; done', { timeoutSeconds: 1 }), never);
      await fixture.untilEvent((event) => event.kind === 'output');
      await fixture.control.stop();
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await fixture.control.start();
      const outcome = await running;
      assert.equal(outcome.verdict, 'TIMEOUT');
      assert.deepEqual(await fixture.control.containers(), []);
    });

    test('a pull that breaks off with the engine is repeated', async () => {
      await using fixture = await startFixtureOf(kind);
      await fixture.registry.push('large:1', await busyboxImage({}, { 'large/file': randomBytes(120_000_000) }));
      const running = fixture.runtime.run(shell('ls -l /large/file', { image: 'large:1' }), never);
      await fixture.untilEvent((event) => event.kind === 'pull-progress');
      await fixture.control.stop('SIGKILL');
      await fixture.control.start();
      const outcome = await running;
      assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
      assert.match(fixture.output()[0] ?? '', / 120000000 /);
    });
  });

test('the exit code of an action that ends while only dockerd is down is reported', async () => {
  await using fixture = await startDockerFixture({ liveRestore: true });
  const outcome = await endWhileDown(fixture, () => fixture.engine.stopDockerd());
  assert.deepEqual(outcome, { verdict: 'SUCCESS', message: 'finished successfully' });
});

test('an action that ends with its engine has failed, and its message says why', async () => {
  await using fixture = await startDockerFixture();
  const running = fixture.runtime.run(shell('trap "exit 9" TERM; echo up; while :; do sleep 0.05; done'), never);
  await fixture.untilEvent((event) => event.kind === 'output');
  await fixture.control.stop('SIGKILL');
  await fixture.control.start();
  const outcome = await running;
  assert.equal(outcome.verdict, 'FAILED');
  assert.match(outcome.message, /the container engine was unavailable meanwhile: up/);
  assert.deepEqual(await fixture.control.containers(), []);
});
