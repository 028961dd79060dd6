import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createProcessMachine } from '../sandbox/agent-under-test/process-machine.ts';
import { type SharedEngine, startSharedEngine } from '../sandbox/agent-under-test/shared-engine.ts';

let shared: SharedEngine;

before(async () => {
  shared = await startSharedEngine();
});

after(() => shared?.[Symbol.asyncDispose]());

test('a server that is away for a minute, from the middle of an action to after its end, gets all reports', async (test) => {
  const machine = await createProcessMachine(test, shared);
  const workflow = machine.createWorkflow([
    { name: 'one', script: 'echo one >> /shared/done; echo it runs; sleep 5' },
    { name: 'two', script: 'echo two >> /shared/done' },
  ]);
  const agent = machine.start(['--backoff-max-interval=5s']);
  await agent.logged(/\[one\] it runs/);
  await machine.server.stop();
  // The length of the outage is what is tested.
  await new Promise((resolve) => setTimeout(resolve, 60_000));
  await machine.server.start();
  await machine.reported(workflow, 'ACTION_SUCCESS', 'two');
  assert.deepEqual(await machine.done(), ['one', 'two']);
  assert.deepEqual(machine.events(workflow), [
    'one ACTION_IN_PROGRESS',
    'one ACTION_SUCCESS',
    'two ACTION_IN_PROGRESS',
    'two ACTION_SUCCESS',
  ]);
  const said = agent.output.filter((line) => /cannot report the end/.test(line));
  assert.ok(said.length >= 1 && said.length <= 4, said.join('\n'));
  await agent.logged(/could report the end of an action again after \d+ s/);
});
