import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exitLabels, idOf, labelKeys, stateOf } from '../../../../agent/runtime/containerd/record.ts';
import { type Container, type Process, TaskStatus } from '../../../../proto/containerd.pb.ts';

const now = new Date('2026-02-03T04:05:06Z');
const createdAt = new Date('2026-02-03T04:00:00Z');
const startedAt = new Date('2026-02-03T04:01:00Z');
const exitedAt = new Date('2026-02-03T04:02:00Z');
const started = { [labelKeys.started]: startedAt.toISOString() };
const exit = exitLabels({ exitCode: 3, exitedAt, outOfMemory: false });

function container(labels: Record<string, string>): Container {
  return {
    ...{ id: 'one', labels, image: 'any', runtime: undefined, spec: undefined },
    ...{ snapshotter: '', snapshotKey: '', createdAt },
  };
}

function process(status: TaskStatus): Process {
  const isStopped = status === TaskStatus.STOPPED;
  return {
    ...{ containerId: 'one', id: '', pid: 1, status, exitStatus: isStopped ? 4 : 0 },
    exitedAt: isStopped ? exitedAt : undefined,
  };
}

test('stateOf() is created without a label or a process', () => {
  assert.deepEqual(stateOf(container({}), undefined, now), { status: 'created' });
  assert.deepEqual(stateOf(container({}), process(TaskStatus.CREATED), now), { status: 'created' });
  assert.deepEqual(stateOf(container(started), process(TaskStatus.RUNNING), now), { status: 'running', startedAt });
  const withoutLabel = stateOf(container({}), process(TaskStatus.RUNNING), now);
  assert.deepEqual(withoutLabel, { status: 'running', startedAt: createdAt });
});

test('stateOf() takes the exit from the labels, else from the process', () => {
  const exited = { status: 'exited', startedAt, exitedAt, outOfMemory: false, error: '' };
  const recorded = stateOf(container({ ...started, ...exit }), undefined, now);
  assert.deepEqual(recorded, { ...exited, exitCode: 3 });
  const stopped = stateOf(container(started), process(TaskStatus.STOPPED), now);
  assert.deepEqual(stopped, { ...exited, exitCode: 4 });
});

test('stateOf() is exited when the exit is stored and the start is not: the action does not run again', () => {
  const state = stateOf(container(exit), undefined, now);
  assert.deepEqual([state.status, state.status === 'exited' && state.exitCode], ['exited', 3]);
});

test('stateOf() has no exit code for a process that is gone', () => {
  const state = stateOf(container(started), undefined, now);
  assert.ok(state.status === 'exited');
  assert.deepEqual([state.exitCode, state.exitedAt], [255, now]);
  assert.match(state.error, /its process is gone/);
});

test('idOf() keeps a name that is valid in containerd, and hashes any other', () => {
  assert.equal(idOf('action-Wipe-the-Disk-0123456789ab'), 'action-Wipe-the-Disk-0123456789ab');
  for (const name of ['a b', '-x', 'x'.repeat(77)]) assert.match(idOf(name), /^[0-9a-f]{64}$/, name);
});
