/**
 * The container image of the agent where OSIE and HookOS start it in place of tink-worker: their
 * names, environments, mounts and flags, on a real engine.
 *
 * From OSIE's workflow-helper.sh (bc454bc of August 2020, c059074 of October 2021) and HookOS's
 * bootkit (0.6, 0.8, 1ec09d5 of February 2026). Two things differ here: the directory /worker is
 * one of the test's, and the container is not privileged but has all that the test's machine
 * grants.
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import type { ContainerCreateOptions } from 'dockerode';
import { execa } from 'execa';
import { containerSpec } from '../../agent/runtime/container-spec.ts';
import { withAcceptedCapabilities } from '../../agent/runtime/docker/accepted-capabilities.ts';
import { createOptions } from '../../agent/runtime/docker/create-options.ts';
import { actionOf } from '../agent/runtime/runtime-fixture.ts';
import { type SharedEngine, startSharedEngine } from '../sandbox/agent-under-test/shared-engine.ts';
import { readOciArchive } from '../sandbox/oci-archive.ts';
import { hardwareJson, MACHINE_ONE } from '../sandbox/tink-server/example.ts';
import { onKubernetes, type ServerDialect, startTinkServer, type TinkServer } from '../sandbox/tink-server/server.ts';

interface Host {
  readonly name: string;
  readonly dialect: ServerDialect;
  /** Repository and tag that it pulls from `docker_registry=`. */
  readonly image: string;
  readonly container: string | undefined;
  readonly terminal: boolean;
  readonly environment: (server: TinkServer, worker: string) => readonly string[];
  /** Source and target, beside /worker and the engine's socket. */
  readonly mounts: readonly (readonly [string, string])[];
  /** Whether the agent's log has what actions print. */
  readonly capturesOutput: boolean;
}

const instance = 'container_uuid=0eba0bf8-3772-4b4a-ab9f-6ebe93b90a94';
const throughHttp = (server: TinkServer) => [
  `TINKERBELL_GRPC_AUTHORITY=${server.authority}`,
  `TINKERBELL_CERT_URL=${server.certificateUrl}`,
];
const noProxies = ['HTTP_PROXY=', 'HTTPS_PROXY=', 'NO_PROXY='];

const hosts: readonly Host[] = [
  {
    ...{ name: 'OSIE of 2020', dialect: 'v0.1', image: 'tink-worker:latest', container: 'tink-worker' },
    ...{ terminal: true, mounts: [], capturesOutput: true },
    environment: (server, worker) => [instance, `WORKER_ID=${worker}`, ...throughHttp(server)],
  },
  {
    ...{
      name: 'OSIE of 2021',
      dialect: 'v0.2',
      image: 'tinkerbell/tink-worker:sha-5e1f0fd8',
      container: 'tink-worker',
    },
    ...{ terminal: true, mounts: [], capturesOutput: false },
    environment: (server, worker) => [
      ...[instance, `WORKER_ID=${worker}`, `ID=${worker}`, ...throughHttp(server), 'CAPTURE_ACTION_LOGS=false'],
    ],
  },
  {
    ...{ name: 'HookOS 0.6', dialect: 'v0.2', image: 'tink-worker:latest', container: undefined },
    ...{ terminal: false, mounts: [], capturesOutput: true },
    environment: (server, worker) => [...throughHttp(server), `WORKER_ID=${worker}`, `ID=${worker}`, instance],
  },
  {
    ...{ name: 'HookOS 0.8', dialect: 'v0.9', image: 'tink-worker:latest', container: undefined },
    ...{ terminal: false, mounts: [], capturesOutput: true },
    environment: ({ authority }, worker) => [
      ...[`TINKERBELL_GRPC_AUTHORITY=${authority}`, 'TINKERBELL_TLS=false', `WORKER_ID=${worker}`, `ID=${worker}`],
      ...noProxies,
    ],
  },
  {
    ...{ name: 'HookOS of 2026', dialect: 'current', image: 'tink-worker:latest', container: 'tink-worker' },
    ...{ terminal: false, capturesOutput: true },
    // And /dev, which every container with all devices has here.
    mounts: [['/run', '/run']],
    environment: ({ authority }, worker) => [
      ...[`TINKERBELL_GRPC_AUTHORITY=${authority}`, 'TINKERBELL_TLS=false', 'TINKERBELL_INSECURE_TLS='],
      ...[`WORKER_ID=${worker}`, `ID=${worker}`, ...noProxies],
    ],
  },
];

describe('the container image of the agent runs a workflow as it is started by', () => {
  let shared: SharedEngine;
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'nibs-agent-hosts-'));
    const archive = join(directory, 'tink-worker.oci.tar');
    const make = join(import.meta.dirname, '../../initramfs/agent-image.ts');
    const [, started] = await Promise.all([execa(process.execPath, [make, '--output', archive]), startSharedEngine()]);
    shared = started;
    const image = await readOciArchive(archive);
    for (const name of new Set(hosts.map((host) => host.image))) await shared.registry.push(name, image);
  });
  after(async () => {
    await shared?.[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  for (const host of hosts) {
    test(host.name, { timeout: 180_000 }, async () => {
      await using server = await startTinkServer({ dialect: host.dialect });
      const { engine, registry } = shared;
      const worker = join(directory, host.name.replaceAll(/\W/g, '-'));
      await mkdir(worker);
      const workflow = createWorkflow(server, worker);
      const reference = `${registry.host}/${host.image}`;
      const authconfig = { username: registry.username, password: registry.password };
      await buffer(await engine.docker.pull(reference, { authconfig }));
      const settings = { ...(await settingsOf(host, server, worker)), Image: reference };
      const container = await withAcceptedCapabilities(settings.HostConfig ?? {}, new Set(), (HostConfig) =>
        engine.docker.createContainer({ ...settings, HostConfig }),
      );
      try {
        await container.start();
        const isEnd = (status: string) => /(SUCCESS|FAILED|TIMEOUT)$/.test(status);
        const events = await server.waitFor(
          workflow,
          (all) => all.some(({ actionName, status }) => actionName === 'two' && isEnd(status)),
          120,
        );
        assert.match(events.at(-1)?.status ?? '', /SUCCESS$/, events.at(-1)?.message);
        assert.equal(await readFile(join(worker, 'done'), 'utf8'), 'one\ntwo\n');
        await container.stop();
        assert.equal((await container.inspect()).State.ExitCode, 0);
        const log = (await container.logs({ stdout: true, stderr: true })).toString();
        // A terminal is read by people, anything else by programs.
        assert.match(log, host.terminal ? /INFO +the agent starts/ : /"msg":"the agent starts"/);
        assert.equal(log.includes('printed by two'), host.capturesOutput, log);
      } finally {
        await container.remove({ force: true });
      }
    });
  }

  async function settingsOf(host: Host, server: TinkServer, worker: string): Promise<ContainerCreateOptions> {
    const { engine, registry } = shared;
    const plan = { role: 'action', image: host.image, command: [], workflowDirectory: worker } as const;
    const spec = containerSpec(actionOf([]), { ...plan, network: 'host', privileges: 'all-available' });
    const { HostConfig } = await createOptions(spec, undefined);
    const machine = onKubernetes(host.dialect) ? MACHINE_ONE.mac : MACHINE_ONE.id;
    return {
      ...(host.container !== undefined && { name: host.container }),
      Tty: host.terminal,
      AttachStdout: true,
      AttachStderr: true,
      Env: [
        ...[`DOCKER_REGISTRY=${registry.host}`, `REGISTRY_USERNAME=${registry.username}`],
        ...[`REGISTRY_PASSWORD=${registry.password}`, ...host.environment(server, machine)],
        // The machine that runs the tests is not the one that is provisioned.
        ...['NIBS_KERNEL_COMMAND_LINE=/dev/null', 'NIBS_PRIVILEGED=false', `NIBS_WORK_DIRECTORY=${worker}`],
        'NIBS_STATUS_ADDRESS=off',
      ],
      HostConfig: {
        ...HostConfig,
        Binds: [
          ...[`${worker}:/worker`, `${worker}:${worker}`, `${engine.socketPath}:/var/run/docker.sock`],
          ...host.mounts.map((mount) => mount.join(':')),
        ],
      },
    };
  }

  /** Two actions that write into the directory that is /worker for the agent. */
  function createWorkflow(server: TinkServer, worker: string): string {
    if (!onKubernetes(server.dialect)) server.pushHardware(hardwareJson(MACHINE_ONE));
    // As of v0.9 the registry does not stand in front of the images of a template by itself.
    const actions = ['one', 'two'].map((name) => ({
      ...{ name, image: imageOf(server.dialect), timeout: 60, volumes: [`${worker}:/shared`] },
      command: ['sh', '-c', `echo printed by ${name}; echo ${name} >> /shared/done`],
    }));
    const tasks = [{ name: 'provision', worker: '{{.machine1}}', actions }];
    const text = JSON.stringify({ version: '0.1', name: 'example', global_timeout: 600, tasks });
    return server.createWorkflow(server.createTemplate('example', text), { machine1: MACHINE_ONE.mac });
  }

  function imageOf(dialect: ServerDialect): string {
    return dialect === 'current' ? `${shared.registry.host}/busybox` : 'busybox';
  }
});
