import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { execa } from 'execa';
import { busyboxImage } from '../../sandbox/busybox-image.ts';
import { engineKinds, shell, startWorkshop, startWorkshopOf, type Workshop } from './workshop.ts';

const never = new AbortController().signal;

function engineEvents({ events }: Workshop): boolean[] {
  return events.flatMap((event) => (event.kind === 'engine' ? [event.reachable] : []));
}

/** Runs an action that ends by itself, with success, after `stop` has ended its engine and before the engine is started again. */
async function endWhileDown(workshop: Workshop, stop: () => Promise<void>) {
  const action = shell('echo up; until [ -e /workflow/go ]; do sleep 0.02; done; echo done > /workflow/done');
  const running = workshop.runtime.run(action, never);
  await workshop.told((event) => event.kind === 'output');
  await stop();
  await appendFile(join(workshop.workDirectory, action.workflowId, 'go'), '');
  await workshop.told((event) => event.kind === 'engine' && !event.reachable);
  await workshop.bench.start();
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
    test('an engine that is not there yet is waited for, and mentioned once', async () => {
      await using workshop = await startWorkshopOf(kind, { started: false });
      const running = workshop.runtime.run(shell('echo hello'), never);
      await workshop.told((event) => event.kind === 'engine' && !event.reachable);
      await workshop.bench.start();
      assert.equal((await running).verdict, 'SUCCESS');
      assert.deepEqual(workshop.output(), ['hello']);
      assert.deepEqual(engineEvents(workshop), [false, true]);
    });

    test('waiting for an engine ends when we are told to stop', async () => {
      await using workshop = await startWorkshopOf(kind, { started: false });
      const controller = new AbortController();
      const running = workshop.runtime.run(shell('true'), controller.signal);
      await workshop.told((event) => event.kind === 'engine');
      const reason = new Error('enough');
      controller.abort(reason);
      await assert.rejects(running, (error) => error === reason);
    });

    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      test(`an action that outlives its engine (ended by ${signal}) is followed to its end`, async () => {
        await using workshop = await startWorkshopOf(kind, { liveRestore: true });
        const action = shell('i=0; until [ -e /workflow/go ]; do echo $((i=i+1)); sleep 0.02; done; echo last; exit 7');
        const running = workshop.runtime.run(action, never);
        await workshop.told((event) => event.kind === 'output' && event.line === '5');
        await workshop.bench.stop(signal);
        await workshop.told((event) => event.kind === 'engine' && !event.reachable);
        await workshop.bench.start();
        await workshop.told((event) => event.kind === 'engine' && event.reachable);
        const before = Number(workshop.output().at(-1));
        await workshop.told((event) => event.kind === 'output' && Number(event.line) > before + 5);
        await appendFile(join(workshop.workDirectory, action.workflowId, 'go'), '');
        const outcome = await running;
        assert.equal(outcome.verdict, 'FAILED');
        assert.match(outcome.message, /^exit code 7, the container engine went away meanwhile: last/);
        assert.deepEqual(engineEvents(workshop), [false, true]);
        assert.deepEqual(await workshop.bench.containers(), []);
      });
    }

    test('the exit code of an action that ends while containerd is down is reported if containerd keeps it', async () => {
      await using workshop = await startWorkshopOf(kind, { liveRestore: true });
      const outcome = await endWhileDown(workshop, () => workshop.bench.stop());
      if (await containerdKeepsExitCodes())
        assert.deepEqual(outcome, { verdict: 'SUCCESS', message: 'finished successfully' });
      else {
        assert.equal(outcome.verdict, 'FAILED');
        assert.match(outcome.message, /^exit code 255, or lost \(containerd 1\.7 and newer do not keep/);
      }
    });

    test('the limit of an action does not stop while its engine is away', async () => {
      await using workshop = await startWorkshopOf(kind, { liveRestore: true });
      const running = workshop.runtime.run(
        shell('echo up; while :; do sleep 0.05; done', { timeoutSeconds: 1 }),
        never,
      );
      await workshop.told((event) => event.kind === 'output');
      await workshop.bench.stop();
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await workshop.bench.start();
      const outcome = await running;
      assert.equal(outcome.verdict, 'TIMEOUT');
      assert.deepEqual(await workshop.bench.containers(), []);
    });

    test('a pull that its engine breaks off is made again', async () => {
      await using workshop = await startWorkshopOf(kind);
      await workshop.registry.push('large:1', await busyboxImage({}, { 'large/file': randomBytes(120_000_000) }));
      const running = workshop.runtime.run(shell('ls -l /large/file', { image: 'large:1' }), never);
      await workshop.told((event) => event.kind === 'pull-progress');
      await workshop.bench.stop('SIGKILL');
      await workshop.bench.start();
      const outcome = await running;
      assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
      assert.match(workshop.output()[0] ?? '', / 120000000 /);
    });
  });

test('the exit code of an action that ends while only dockerd is down is reported', async () => {
  await using workshop = await startWorkshop({ liveRestore: true });
  const outcome = await endWhileDown(workshop, () => workshop.engine.stopDockerd());
  assert.deepEqual(outcome, { verdict: 'SUCCESS', message: 'finished successfully' });
});

test('an action that its engine takes along has failed, and says why', async () => {
  await using workshop = await startWorkshop();
  const running = workshop.runtime.run(shell('trap "exit 9" TERM; echo up; while :; do sleep 0.05; done'), never);
  await workshop.told((event) => event.kind === 'output');
  await workshop.bench.stop('SIGKILL');
  await workshop.bench.start();
  const outcome = await running;
  assert.equal(outcome.verdict, 'FAILED');
  assert.match(outcome.message, /the container engine went away meanwhile: up/);
  assert.deepEqual(await workshop.bench.containers(), []);
});
