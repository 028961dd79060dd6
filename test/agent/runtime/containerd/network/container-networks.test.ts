import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { execa } from 'execa';
import { ContainerNetworks } from '../../../../../agent/runtime/containerd/network/container-networks.ts';
import { bridge, list, makeNetworkFixture, type NetworkFixture, never, passOn } from './network-fixture.ts';

const reason = new Error('not wanted any more');

/**
 * Adds a plug-in after the bridge that hangs in the command.
 * @returns resolves when the plug-in was started
 */
async function addHangingPlugin(
  fixture: NetworkFixture,
  command: 'ADD' | 'DEL',
): Promise<{ started(): Promise<unknown> }> {
  const pipe = fixture.at('started');
  await execa('mkfifo', [pipe]);
  const hang = `echo >${pipe}; exec sleep 1000`;
  await fixture.install('slow', `if [ $CNI_COMMAND = ${command} ]; then ${hang}; fi; ${passOn}`);
  await fixture.configure('10-lab.conflist', {
    ...list(fixture),
    plugins: [list(fixture).plugins[0], { type: 'slow' }],
  });
  return { started: () => readFile(pipe) };
}

test('connect() stops at once when its signal is aborted amid a plug-in, and detaches what was attached', async () => {
  await using fixture = await makeNetworkFixture(bridge);
  const plugin = await addHangingPlugin(fixture, 'ADD');
  const networks = new ContainerNetworks(fixture.options);
  const directory = fixture.at('container');
  const stop = new AbortController();
  const rejected = assert.rejects(networks.connect('one', directory, 'cni', 'host-one', stop.signal), reason);
  await plugin.started();
  stop.abort(reason);
  await rejected;
  assert.deepEqual(await fixture.left(), []);
  assert.deepEqual(fixture.warnings, []);

  await fixture.install('slow', passOn);
  await networks.connect('one', directory, 'cni', 'host-one', never);
  assert.ok((await fixture.left()).includes('one.json'));
  await networks.disconnect('one', directory, 'cni', never);
  assert.deepEqual(await fixture.left(), []);
});

test('disconnect() stops at once when its signal is aborted amid a plug-in, and can be repeated', async () => {
  await using fixture = await makeNetworkFixture(bridge);
  const plugin = await addHangingPlugin(fixture, 'DEL');
  const networks = new ContainerNetworks(fixture.options);
  const directory = fixture.at('container');
  await networks.connect('one', directory, 'cni', 'host-one', never);
  const stop = new AbortController();
  const rejected = assert.rejects(networks.disconnect('one', directory, 'cni', stop.signal), reason);
  await plugin.started();
  stop.abort(reason);
  await rejected;
  assert.ok((await fixture.left()).includes('one.json'));

  await fixture.install('slow', passOn);
  await networks.disconnect('one', directory, 'cni', never);
  assert.deepEqual(await fixture.left(), []);
});

test('connect(), disconnect() and kindOf() end with the reason of an aborted signal', async () => {
  await using fixture = await makeNetworkFixture(bridge);
  const networks = new ContainerNetworks(fixture.options);
  const aborted = AbortSignal.abort(reason);
  await assert.rejects(networks.connect('one', fixture.at('container'), 'cni', 'host-one', aborted), reason);
  await assert.rejects(networks.disconnect('one', fixture.at('container'), 'cni', aborted), reason);
  await assert.rejects(networks.kindOf('default', aborted), reason);
  await assert.rejects(networks.isAvailable(aborted), reason);
});
