import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { Action } from '../../../agent/action/action.ts';
import { SyslogServer } from '../../sandbox/syslog-server.ts';
import { type DockerFixture, shell, startDockerFixture } from './runtime-fixture.ts';

const never = new AbortController().signal;

/** Runs an action whose container can be looked at while it runs. */
async function runAndInspect(fixture: DockerFixture, action: Action) {
  const running = fixture.runtime.run(action, never);
  await fixture.untilEvent((event) => event.kind === 'output' && event.line === 'ready');
  const [container] = await fixture.engine.docker.listContainers();
  const { HostConfig } = await fixture.engine.docker.getContainer(container?.Id ?? '').inspect();
  await writeFile(join(fixture.workDirectory, action.workflowId, 'go'), '');
  return { outcome: await running, logConfig: HostConfig.LogConfig };
}

function waiting(end: string): Action {
  return shell(`echo ready; until [ -e /workflow/go ]; do sleep 0.05; done; ${end}`);
}

/** As an agent that is killed while its action runs. */
async function runAndKill(fixture: DockerFixture, action: Action): Promise<void> {
  const script = join(import.meta.dirname, 'action-process.ts');
  const parameters = [script, JSON.stringify(fixture.control.location), fixture.workDirectory, fixture.registry.host];
  const agent = spawn(process.execPath, [...parameters, JSON.stringify(action)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(agent, 'exit');
  for await (const line of createInterface({ input: agent.stdout }))
    if (line.includes('"line":"ready"')) agent.kill('SIGKILL');
  await exited;
}

for (const [driver, options, expected] of [
  ['json-file', {}, { 'max-size': '8m', 'max-file': '2' }],
  ['local', { 'max-size': '1m' }, { 'max-size': '1m' }],
  ['none', {}, {}],
] as const)
  test(`with the engine's log driver ${driver} output arrives, and the container has that driver`, async () => {
    await using fixture = await startDockerFixture({ logs: { driver, options } });
    const { outcome, logConfig } = await runAndInspect(fixture, waiting('echo bad >&2; exit 3'));
    assert.match(outcome.message, /^exit code 3: bad \| before that: ready$/);
    assert.deepEqual(logConfig, { Type: driver, Config: expected });
  });

test('an engine with the syslog driver sends the output of actions to the server', async () => {
  await using server = new SyslogServer('udp');
  await server.start();
  const options = { 'syslog-address': `udp://127.0.0.1:${server.port}`, 'cache-disabled': 'true' };
  await using fixture = await startDockerFixture({ logs: { driver: 'syslog', options } });
  const { outcome, logConfig } = await runAndInspect(fixture, waiting('echo bad >&2; exit 3'));
  assert.equal(logConfig?.Type, 'syslog');
  assert.match(outcome.message, /^exit code 3: bad/);
  await server.until((messages) => messages.some((message) => message.trim().endsWith('ready')));
  await server.until((messages) => messages.some((message) => message.trim().endsWith('bad')));
});

test('with a log driver that cannot be read, a later agent reads new output only, with a warning', async () => {
  await using fixture = await startDockerFixture({ logs: { driver: 'none' } });
  // The first pull, with credentials, so that a process without them finds the image.
  await fixture.runtime.run(shell('true'), never);
  const action = shell('echo ready; until [ -e /workflow/go ]; do sleep 0.05; echo tick; done; echo went on; exit 4');
  await runAndKill(fixture, action);
  const running = fixture.runtime.run(action, never);
  await fixture.untilEvent((event) => event.kind === 'warning' && /cannot be read back/.test(event.message));
  await fixture.untilEvent((event) => event.kind === 'output' && event.line === 'tick');
  await writeFile(join(fixture.workDirectory, action.workflowId, 'go'), '');
  assert.match((await running).message, /^exit code 4: went on \| before that: tick/);

  fixture.events.length = 0;
  const ended = waiting('exit 4');
  await runAndKill(fixture, ended);
  await writeFile(join(fixture.workDirectory, ended.workflowId, 'go'), '');
  const [container] = await fixture.engine.docker.listContainers({ all: true });
  await fixture.engine.docker.getContainer(container?.Id ?? '').wait();
  const outcome = await fixture.runtime.run(ended, never);
  assert.equal(outcome.message, 'exit code 4: no output');
  const warnings = fixture.events.filter((event) => event.kind === 'warning');
  assert.deepEqual(
    warnings.map(({ message }) => message.replace(/container \S+/, 'container X')),
    ["earlier output of the container X cannot be read back: the engine's log driver sends it elsewhere"],
  );
});

test("an action fails if the engine's log driver needs a journal that the machine does not have", async () => {
  await using fixture = await startDockerFixture({ logs: { driver: 'journald' } });
  const outcome = await fixture.runtime.run(shell('true'), never);
  assert.equal(outcome.verdict, 'FAILED');
  assert.match(outcome.message, /^could not be run: .*journald is not enabled on this host/);
});
