import assert from 'node:assert/strict';
import { once } from 'node:events';
import { access, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { execa } from 'execa';
import type { Action } from '../../../../agent/action/action.ts';
import { containerName } from '../../../../agent/runtime/container-identity.ts';
import { idOf } from '../../../../agent/runtime/containerd/record.ts';
import { busyboxImage } from '../../../sandbox/busybox-image.ts';
import { watchClientSockets } from '../../../sandbox/client-sockets.ts';
import { createRuntime, type EngineLocation, type RuntimeFixture, shell, startFixtureOf } from '../runtime-fixture.ts';

const never = new AbortController().signal;
let fixture: RuntimeFixture;
before(async () => {
  fixture = await startFixtureOf('containerd');
  await fixture.runtime.run(shell('true'), never);
});
after(() => fixture[Symbol.asyncDispose]());
beforeEach(() => {
  fixture.events.length = 0;
});

function location(): Extract<EngineLocation, { kind: 'containerd' }> {
  assert.ok(fixture.control.location.kind === 'containerd');
  return fixture.control.location;
}

function idOfContainer(action: Action): string {
  return idOf(containerName(action, 'action'));
}

test('the message of an action that runs out of memory says so', async () => {
  const action = shell('echo ready; until [ -e /workflow/go ]; do sleep 0.05; done; tail /dev/zero');
  const running = fixture.runtime.run(action, never);
  await fixture.untilEvent((event) => event.kind === 'output');
  await limitMemory(`${location().namespace}/${idOfContainer(action)}`, 16 * 1024 * 1024);
  await writeFile(join(fixture.workDirectory, action.workflowId, 'go'), '');
  const outcome = await running;
  assert.equal(outcome.verdict, 'FAILED');
  assert.match(outcome.message, /^out of memory \(exit code 137\)/);
});

/** @param group as the runtime specification names it */
async function limitMemory(group: string, bytes: number): Promise<void> {
  const unified = join('/sys/fs/cgroup', group, 'memory.max');
  const isUnified = await access(unified).then(
    () => true,
    () => false,
  );
  const path = isUnified ? unified : join('/sys/fs/cgroup/memory', group, 'memory.limit_in_bytes');
  await writeFile(path, String(bytes));
}

test('an action runs as the user that its image names', async () => {
  const files = { 'etc/passwd': 'root:x:0:0::/:/bin/sh\nbuilder:x:1234:4321::/:/bin/sh\n' };
  await fixture.registry.push('user:1', await busyboxImage({ User: 'builder' }, files));
  await fixture.runtime.run(shell('id -u; id -g', { image: 'user:1' }), never);
  assert.deepEqual(fixture.output(), ['1234', '4321']);
});

test('a named volume stays for the next action', async () => {
  const volumes = ['shared:/shared'];
  await fixture.runtime.run(shell('echo kept > /shared/file', { volumes }), never);
  await fixture.runtime.run(shell('cat /shared/file', { volumes }), never);
  assert.deepEqual(fixture.output(), ['kept']);
});

test('an image that was removed from the store is pulled again', async () => {
  const name = `${fixture.registry.host}/busybox:1`;
  const { socket, namespace } = location();
  await execa('ctr', ['--address', socket, '--namespace', namespace, 'images', 'remove', '--sync', name]);
  assert.equal((await fixture.runtime.run(shell('echo back'), never)).verdict, 'SUCCESS');
  assert.deepEqual(fixture.output(), ['back']);
});

test('a runtime that is disposed of closes its connections', async () => {
  using connections = watchClientSockets();
  // Clients of the same address share a connection.
  const socket = `${location().socket}-of-its-own`;
  await symlink(location().socket, socket);
  const runtime = createRuntime({ ...location(), socket }, fixture.options);
  const action = shell('true');
  assert.equal((await runtime.run(action, never)).verdict, 'SUCCESS');
  await runtime.release(action);
  const open = connections.sockets.filter((socket) => !socket.closed);
  assert.ok(open.length > 0, 'no connection was kept open');
  const closed = Promise.all(open.map((socket) => once(socket, 'close')));
  await runtime[Symbol.asyncDispose]();
  // gRPC ends a connection in good order: its end comes after the return.
  await closed;
});

test('with CNI plug-ins, an action has a network of its own, which is removed afterwards', async () => {
  const network = `nibs-cni-${process.pid}`;
  await execa('ip', ['netns', 'add', network]);
  try {
    const { networkConfigPath } = location();
    await mkdir(networkConfigPath, { recursive: true });
    const ipam = { type: 'host-local', subnet: '10.77.0.0/24', routes: [{ dst: '0.0.0.0/0' }] };
    const plugins = [{ type: 'bridge', bridge: 'actions0', isGateway: true, ipam }];
    await writeFile(
      join(networkConfigPath, '10-actions.conflist'),
      JSON.stringify({ cniVersion: '0.4.0', name: 'actions', plugins }),
    );
    const action = shell(
      "ip -4 -o addr show eth0 | awk '{ print $4 }'; ping -c 1 -W 5 10.77.0.1 > /dev/null && echo reached; cat /etc/hosts",
    );
    const output = await runInNamespace(network, action, { ...location(), networkPluginPaths: ['/usr/lib/cni'] });
    assert.match(output[0] ?? '', /^10\.77\.0\.\d+\/24$/);
    assert.equal(output[1], 'reached');
    assert.ok(output.some((line) => line.includes(idOfContainer(action).slice(0, 12))));
    const { stdout: left } = await execa('ip', ['-n', network, '-o', 'link', 'show', 'master', 'actions0']);
    assert.equal(left, '');
    await assert.rejects(
      readFile(join(location().stateRoot, location().namespace, 'containers', idOfContainer(action), 'hosts')),
    );
  } finally {
    await execa('ip', ['netns', 'delete', network]);
  }
});

/**
 * Its network is that of a whole machine: bridge and addresses are made there. The image is here
 * already.
 * @returns the lines that the action printed
 */
async function runInNamespace(network: string, action: Action, where: EngineLocation): Promise<string[]> {
  const script = join(import.meta.dirname, '../action-process.ts');
  const parameters = [script, JSON.stringify(where), fixture.workDirectory, fixture.registry.host];
  // Not `ip netns exec`, which has mounts of its own: containerd must see the container's
  // namespace.
  const { stdout } = await execa('nsenter', [
    ...[`--net=/run/netns/${network}`, process.execPath],
    ...[...parameters, JSON.stringify(action)],
  ]);
  const events = stdout
    .split('\n')
    .map((line) => JSON.parse(line) as { kind?: string; line?: string; verdict?: string });
  assert.equal(events.at(-1)?.verdict, 'SUCCESS', stdout);
  return events.flatMap(({ kind, line = '' }) => (kind === 'output' ? [line] : []));
}
