/**
 * The agent as a program with another engine, and another source of work, than OSIE and HookOS use.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect } from '@nats-io/transport-node';
import '../sandbox/force-exit.ts';
import { createProcessMachine } from '../sandbox/agent-under-test/process-machine.ts';
import { type SharedEngine, startSharedEngine } from '../sandbox/agent-under-test/shared-engine.ts';
import { type Containerd, startContainerd } from '../sandbox/containerd.ts';
import { startNatsServer } from '../sandbox/nats-server.ts';
import { pollUntil } from '../sandbox/poll-until.ts';
import { MACHINE_ONE } from '../sandbox/tink-server/example.ts';

let shared: SharedEngine;
let containerd: Containerd;

before(async () => {
  [shared, containerd] = await Promise.all([startSharedEngine(), startContainerd()]);
});

after(() => Promise.all([shared?.[Symbol.asyncDispose](), containerd?.[Symbol.asyncDispose]()]));

test('a workflow is run by containerd, with the flags that CaptainOS starts tink-agent with, and goes on after the agent was killed', async (test) => {
  const machine = await createProcessMachine(test, shared);
  const workflow = machine.createWorkflow([
    { name: 'first', script: 'echo first >> /shared/done; echo hello from containerd; echo shared > /workflow/note' },
    {
      name: 'second',
      script: 'echo waiting; until [ -e /shared/go ]; do sleep 0.1; done; cat /workflow/note >> /shared/done',
    },
    { name: 'third', script: 'echo going wrong; exit 3' },
  ]);
  const flags = [
    ...['-runtime', 'containerd', '-containerd-socket', containerd.socketPath, '-containerd-namespace', 'tinkerbell'],
    ...['-containerd-data-root', join(machine.directory, 'data'), '-network', 'host'],
  ];
  // Nothing listens there: containerd does the work.
  const environment = { DOCKER_HOST: join(machine.directory, 'no-docker.sock') };
  const killed = machine.start(flags, environment);
  await killed.logged(/\[second\] waiting/);
  await killed.end('SIGKILL');
  const agent = machine.start(flags, environment);
  await agent.logged(/waiting for the container of an earlier agent/);
  await writeFile(join(machine.directory, 'go'), '');
  assert.match(await machine.reported(workflow, 'ACTION_FAILED', 'third'), /exit code 3: going wrong/);
  assert.deepEqual(await machine.done(), ['first', 'shared']);
  assert.match(killed.output.join('\n'), /INFO {2}\[first\] hello from containerd/);
  assert.doesNotMatch([...killed.output, ...agent.output].join('\n'), /canary/);
  const containers = () => containerd.ctr('--namespace', 'tinkerbell', 'containers', 'list', '--quiet');
  await pollUntil(async () => (await containers()) === '', 'the removal of the containers');
});

test('a list of actions from NATS is run, with events, and the machine reboots', async (test) => {
  const machine = await createProcessMachine(test, shared);
  await using nats = await startNatsServer('authorization { user: agent, password: "canary-of-nats" }');
  const address = `nats://agent:canary-of-nats@${nats.host}`;
  const client = await connect({ servers: nats.host, user: 'agent', pass: 'canary-of-nats' });
  test.after(() => client.close());
  const states: string[] = [];
  const subject = `tinkerbell.${MACHINE_ONE.id}`;
  client.subscribe(`${subject}.workflow_status`, {
    callback: (_, message) => {
      const { action_name: name, state } = message.json<{ action_name: string; state: string }>();
      states.push(`${name} ${state}`);
    },
  });
  const agent = machine.start(['-transport', 'nats', '-nats-server', address, '--finish=reboot']);
  await agent.logged(/connected to the NATS server/);
  const volumes = [`${machine.directory}:/shared`];
  const list = ['first', 'second'].map((name) => ({
    ...{ workflow_id: 'w1', task_id: 't1', id: name, name, image: `${shared.registry.host}/busybox`, volumes },
    ...{ cmd: 'sh', args: ['-c', `echo ${name} >> /shared/done`], timeoutSeconds: 60 },
  }));
  client.publish(`${subject}.workflow_actions`, JSON.stringify(list));
  await pollUntil(async () => (await machine.done()).includes('reboot'), 'the reboot');
  assert.deepEqual(await machine.done(), ['first', 'second', 'reboot']);
  assert.deepEqual(states, ['first RUNNING', 'first SUCCESS', 'second RUNNING', 'second SUCCESS']);
  assert.doesNotMatch(agent.output.join('\n'), /canary/);
});
