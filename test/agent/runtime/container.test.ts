import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Container, type RunOptions } from '../../../agent/runtime/container.ts';
import type { ContainerSpec } from '../../../agent/runtime/container-spec.ts';
import type { ContainerDetails } from '../../../agent/runtime/container-state.ts';
import { createDockerEngine } from '../../../agent/runtime/docker/engine.ts';
import { connectEngine } from '../../../agent/runtime/engine-connection.ts';
import { EngineError, type EngineFailure } from '../../../agent/runtime/engine-error.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';

const spec: ContainerSpec = {
  ...{ name: 'action-wipe', image: 'wipe:1', entrypoint: undefined, command: [], environment: [] },
  ...{ labels: { action: 'wipe' }, volumes: [], mounts: [], network: 'host', pidMode: undefined },
  privileges: 'privileged',
};

const options: RunOptions = {
  ...{ limitSeconds: 1, graceSeconds: 1, masking: { redact: (text) => text, redactParts: () => (part) => part } },
  ...{ onStarted() {}, onLeftover() {}, onLine() {}, onWarning() {} },
};

function failure(reason: EngineFailure): EngineError {
  return new EngineError(reason, { what: 'ask', target: 'the engine', why: `it is ${reason}` });
}

/** Creates a container where `action-wipe` is taken; the engine `shows` this of that name. */
async function createWhereTaken(shows: () => ContainerDetails): Promise<Container> {
  const engine = Object.assign(createDockerEngine('/nowhere'), {
    createContainer: async ({ name }: ContainerSpec) => {
      if (name === spec.name) throw failure('name-taken');
      return 'new';
    },
    inspectContainer: async () => shows(),
  });
  const connection = connectEngine(engine, 'here', new VirtualClock(), () => {});
  return await Container.create(connection, spec, options, new AbortController().signal);
}

for (const [what, shows] of [
  ['has other labels', () => ({ id: 'other', labels: { action: 'other' }, state: { status: 'created' } })],
  [
    'has run before',
    () => ({ id: 'other', labels: spec.labels, state: { status: 'running', startedAt: new Date(0) } }),
  ],
  [
    'the engine does not find',
    () => {
      throw failure('no-such-container');
    },
  ],
] as const satisfies readonly (readonly [string, () => ContainerDetails])[]) {
  test(`Container.create() takes another name where its own is that of a container that ${what}`, async () => {
    const { id, name } = await createWhereTaken(shows);
    assert.equal(id, 'new');
    assert.match(name, /^action-wipe-[0-9a-f]{8}$/);
  });
}

test('Container.create() uses the container that a request made whose response got lost', async () => {
  const { id, name } = await createWhereTaken(() => ({
    id: 'lost',
    labels: spec.labels,
    state: { status: 'created' },
  }));
  assert.deepEqual({ id, name }, { id: 'lost', name: 'action-wipe' });
});
