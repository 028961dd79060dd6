/** The container image of the agent, run as OSIE runs that of tink-worker, on a real engine. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { containerSpec } from '../../agent/runtime/container-spec.ts';
import { withAcceptedCapabilities } from '../../agent/runtime/docker/accepted-capabilities.ts';
import { createOptions } from '../../agent/runtime/docker/create-options.ts';
import { actionOf } from '../agent/runtime/runtime-fixture.ts';
import { createProcessMachine, type ProcessMachine } from '../sandbox/agent-under-test/process-machine.ts';
import { type SharedEngine, startSharedEngine } from '../sandbox/agent-under-test/shared-engine.ts';
import type { Image } from '../sandbox/image.ts';
import { readOciArchive } from '../sandbox/oci-archive.ts';
import { pollUntil } from '../sandbox/poll-until.ts';
import { MACHINE_ONE } from '../sandbox/tink-server/example.ts';

const root = join(import.meta.dirname, '../..');

let shared: SharedEngine;
let image: Image;
let directory: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-agent-image-'));
  const archive = join(directory, 'tink-worker.oci.tar');
  const build = [process.execPath, join(root, 'initramfs/agent-image.ts'), '--output', archive];
  await execa('sh', ['-c', 'umask 077; exec "$@"', 'sh', ...build]);
  [shared, image] = await Promise.all([startSharedEngine(), readOciArchive(archive)]);
  await shared.engine.load('tink-worker:latest', image);
});

after(async () => {
  await shared?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

/** OSIE's `docker run` for tink-worker, without what a test machine refuses. */
async function startContainer({ server, directory }: ProcessMachine) {
  const worker = join(directory, 'worker');
  await mkdir(worker, { recursive: true });
  const { engine, registry } = shared;
  const plan = { role: 'action', image: 'tink-worker:latest', command: [], workflowDirectory: worker } as const;
  const spec = containerSpec(actionOf([]), { ...plan, network: 'host', privileges: 'all-available' });
  const { HostConfig } = await createOptions(spec, undefined);
  const settings = {
    Image: 'tink-worker:latest',
    Tty: true,
    Env: [
      ...[`WORKER_ID=${MACHINE_ONE.id}`, `ID=${MACHINE_ONE.id}`, 'container_uuid=0eba0bf8-3772-4b4a-ab9f-6ebe93b90a94'],
      ...[`TINKERBELL_GRPC_AUTHORITY=${server.authority}`, `TINKERBELL_CERT_URL=${server.certificateUrl}`],
      ...[`DOCKER_REGISTRY=${registry.host}`, `REGISTRY_USERNAME=${registry.username}`],
      `REGISTRY_PASSWORD=${registry.password}`,
      // The machine that runs the tests is not the one that is provisioned, and has no directory
      // /worker.
      ...['NIBS_KERNEL_COMMAND_LINE=/dev/null', 'NIBS_PRIVILEGED=false', `NIBS_WORK_DIRECTORY=${worker}`],
      'NIBS_STATUS_ADDRESS=off',
    ],
    HostConfig: {
      ...HostConfig,
      Binds: [`${worker}:/worker`, `${worker}:${worker}`, `${engine.socketPath}:/var/run/docker.sock`],
    },
  };
  const container = await withAcceptedCapabilities(settings.HostConfig, new Set(), (HostConfig) =>
    engine.docker.createContainer({ ...settings, HostConfig }),
  );
  await container.start();
  return container;
}

test('it works as tink-worker, and a new container continues where a killed one stopped', async (test) => {
  const machine = await createProcessMachine(test, shared);
  const workflow = machine.createWorkflow([
    { name: 'one', script: 'echo one >> /shared/done' },
    { name: 'two', script: 'echo two >> /shared/done; until [ -e /shared/go ]; do sleep 0.1; done' },
  ]);
  const first = await startContainer(machine);
  await pollUntil(async () => (await machine.done()).includes('two'), 'the second action');
  await first.remove({ force: true });
  const second = await startContainer(machine);
  await writeFile(join(machine.directory, 'go'), '');
  await machine.reported(workflow, 'ACTION_SUCCESS', 'two');
  assert.deepEqual(await machine.done(), ['one', 'two']);
  const [one, two] = [
    ['one ACTION_IN_PROGRESS', 'one ACTION_SUCCESS'],
    ['two ACTION_IN_PROGRESS', 'two ACTION_SUCCESS'],
  ];
  assert.deepEqual(machine.events(workflow), [...one, ...two]);
  await second.stop();
  const { State } = await second.inspect();
  assert.equal(State.ExitCode, 0);
});

test('it has the file that CaptainOS takes out of it, and its bytes do not depend on the time of the build', async () => {
  const { config } = JSON.parse(image.configuration.toString());
  assert.deepEqual(config.Entrypoint, ['/usr/bin/tink-worker']);
  const input = image.layers.at(-1) ?? assert.fail('no layer');
  const { stdout } = await execa('tar', ['-tvz'], { input, env: { TZ: 'UTC' } });
  assert.match(stdout, /^-rwxr-xr-x .* 1970-01-01 00:00 usr\/bin\/tink-agent$/m);
  assert.match(stdout, /^l.* usr\/bin\/tink-worker -> tink-agent$/m);
  const taken = await execa('tar', ['-xzf', '-', '-C', directory, 'usr/bin/tink-agent'], { input });
  assert.equal(taken.exitCode, 0);
  const version = await execa(join(directory, 'usr/bin/tink-agent'), ['--version']);
  assert.match(version.stdout, /^tink-agent \(nibs\)/);
});

test('the modes in the layers do not depend on the umask of the build', async () => {
  for (const input of image.layers) {
    const { stdout } = await execa('tar', ['-tvz'], { input, lines: true });
    const modes = new Set(stdout.filter((line) => line.startsWith('d')).map((line) => line.split(' ')[0]));
    assert.deepEqual([...modes], ['drwxr-xr-x']);
  }
});

test('no member of a layer has a name that starts with a dot, and there is no C++ library', async () => {
  for (const input of image.layers) {
    const { stdout } = await execa('tar', ['-tz'], { input, lines: true });
    assert.ok(stdout.length > 0);
    assert.deepEqual(
      stdout.filter((name) => name.startsWith('.') || name.includes('libstdc++')),
      [],
    );
  }
});
