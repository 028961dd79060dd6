import assert from 'node:assert/strict';
import { mkdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { containerName } from '../../../../agent/runtime/container-identity.ts';
import { pollUntil } from '../../../sandbox/poll-until.ts';
import { waitdaemonImage } from '../../../sandbox/waitdaemon.ts';
import { actionOf, type DockerFixture, shell, startDockerFixture } from '../runtime-fixture.ts';

// What Podman does differently from Docker, with the configuration of the boot image. All tests of
// the adapter run with Podman by `make test-podman`.

const never = new AbortController().signal;

let fixture: DockerFixture;
before(async () => {
  process.env['TEST_ENGINE'] = 'podman';
  fixture = await startDockerFixture();
  await fixture.registry.push('waitdaemon:1', await waitdaemonImage());
});
after(() => fixture[Symbol.asyncDispose]());
beforeEach(() => {
  fixture.events.length = 0;
});

test('Podman: an action that names no network has the machine’s, a container of another client none', async () => {
  const outcome = await fixture.runtime.run(shell('readlink /proc/self/ns/net; hostname'), never);
  assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
  const [network, hostname] = fixture.output();
  assert.equal(network, await readlink('/proc/self/ns/net'));
  assert.match(hostname ?? '', /^action-say-something-/);

  await fixture.control.create('other', `${fixture.registry.host}/busybox:1`);
  const other = await fixture.engine.docker.getContainer('other').inspect();
  await fixture.control.remove('other');
  assert.equal(other.HostConfig.NetworkMode, 'none');
  assert.equal(other.Config.Hostname, other.Id.slice(0, 12));
});

test('Podman: an action whose container’s name is taken gets another one', async () => {
  const action = shell('hostname');
  const name = containerName(action, 'action');
  await fixture.control.create(name, `${fixture.registry.host}/busybox:1`);
  const outcome = await fixture.runtime.run(action, never);
  await fixture.control.remove(name);
  assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
  assert.match(fixture.output()[0] ?? '', new RegExp(`^${name}-[0-9a-f]{8}$`));
});

test('Podman: on the network of another container the hostname is that one’s', async () => {
  const settings = {
    Hostname: 'other-host',
    Cmd: ['sleep', '600'],
    StopTimeout: 0,
    HostConfig: { NetworkMode: 'none' },
  };
  const Image = `${fixture.registry.host}/busybox:1`;
  const other = await fixture.engine.docker.createContainer({ name: 'other', Image, ...settings });
  await other.start();
  const outcome = await fixture.runtime.run(shell('hostname', { networkMode: 'container:other' }), never);
  await other.remove({ force: true });
  assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
  assert.deepEqual(fixture.output(), ['other-host']);
});

test('Podman: waitdaemon starts itself again and then its image', async () => {
  const out = join(fixture.workDirectory, 'out');
  await mkdir(out);
  const waitdaemon = actionOf(['sh', '-c', 'echo done > /out/done'], {
    image: 'waitdaemon:1',
    pidMode: 'host',
    environment: [`IMAGE=${fixture.registry.host}/busybox:1`, 'WAIT_SECONDS=0'],
    volumes: [`${fixture.engine.socketPath}:/var/run/docker.sock`, `${out}:/out`],
  });
  const outcome = await fixture.runtime.run(waitdaemon, never);
  assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
  await pollUntil(
    async () => (await readFile(join(out, 'done'), 'utf8').catch(() => '')) === 'done\n',
    'the end of the container that waitdaemon starts',
  );
});

test('Podman: an IPv6 address in the name of an image is refused with the reason', async () => {
  const outcome = await fixture.runtime.run(
    { ...shell('true'), image: '[::1]:5000/busybox:1', registryPrefix: 'never' as const },
    never,
  );
  assert.equal(outcome.verdict, 'FAILED');
  assert.match(
    outcome.message ?? '',
    /cannot pull \[::1\]:5000\/busybox:1: Podman takes no IPv6 address in the name of an image \(name the registry by a host name, /,
  );
});
