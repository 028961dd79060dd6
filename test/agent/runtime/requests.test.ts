import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { createContainerRuntime } from '../../../agent/runtime/container-runtime.ts';
import { connectDocker } from '../../../agent/runtime/docker/api.ts';
import type { EngineApi } from '../../../agent/runtime/engine-api.ts';
import type { Runtime } from '../../../agent/runtime/runtime.ts';
import { type DockerWorkshop, shell, startWorkshop } from './workshop.ts';

// Each request costs the agent a millisecond or more of CPU; what has been answered is not asked again.

const never = new AbortController().signal;
let workshop: DockerWorkshop;
let runtime: Runtime;
/** What the engine was asked, in order. */
let asked: string[] = [];

before(async () => {
  workshop = await startWorkshop();
});
after(() => workshop[Symbol.asyncDispose]());
beforeEach(() => {
  runtime = createContainerRuntime(
    recording(connectDocker(workshop.engine.host)),
    workshop.engine.host,
    workshop.options,
  );
  asked = [];
});

/** The same engine, with a record of what it is asked. */
function recording(api: EngineApi): EngineApi {
  return new Proxy(api, {
    get(target, name: keyof EngineApi) {
      const method = target[name];
      if (typeof method !== 'function' || name === 'whyAway') return method;
      return (...parameters: unknown[]) => {
        asked.push(name);
        return Reflect.apply(method, target, parameters);
      };
    },
  });
}

async function runOne(workflowId: string, id: string): Promise<void> {
  const action = shell('echo done', { workflowId, id });
  assert.equal((await runtime.run(action, never)).verdict, 'SUCCESS');
  await runtime.release(action);
}

test('an action after the first one of its workflow takes as few requests as an action can', async () => {
  await runOne('w', '0');
  asked = [];
  await runOne('w', '1');
  const needed = [
    'pullImage',
    'createContainer',
    'attach',
    'events',
    'startContainer',
    'waitForEnd',
    'removeContainer',
  ];
  assert.deepEqual(asked, needed);
});

test('containers that an earlier agent left are looked for once a workflow', async () => {
  for (const [workflowId, id] of [
    ['w', '0'],
    ['w', '1'],
    ['x', '0'],
    ['x', '1'],
  ] as const)
    await runOne(workflowId, id);
  assert.equal(asked.filter((name) => name === 'listContainers').length, 2);
});

test('after an action that could not be run they are looked for again', async () => {
  await runOne('w', '0');
  const broken = shell('true', { workflowId: 'w', id: '1', volumes: ['not a volume'] });
  assert.equal((await runtime.run(broken, never)).verdict, 'FAILED');
  asked = [];
  await runOne('w', '2');
  assert.equal(asked.filter((name) => name === 'listContainers').length, 1);
});

test('after an outage the engine is asked again what had been its answer before', async () => {
  await runOne('w', '0');
  asked = [];
  await workshop.engine.stop();
  const running = runOne('w', '1');
  await workshop.told((event) => event.kind === 'engine' && !event.reachable);
  await workshop.engine.start();
  await running;
  await runOne('w', '2');
  const known = ['listContainers', 'hasBridge', 'logDriver'];
  assert.deepEqual(asked.filter((name) => known.includes(name)).sort(), known.sort());
});
