/**
 * The agent of a release where Tinkerbell's systems for installation take it: OSIE's helper,
 * HookOS's bootkit and CaptainOS's service, each with its own names, mounts, environment and flags.
 * They pull it, from where `make push` has put it, as an image of several platforms.
 *
 * Three things differ from a machine that is provisioned. Directories of such a machine (/worker)
 * are those of the test; the one for /worker is also mounted where the engine sees it. The kernel
 * command line, from which host and agent read the same, is in a file there. And the agent listens
 * on no port for its status, because other tests do.
 */
import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { execa } from 'execa';
import { readImageIndex } from '../../release/verify/image-index.ts';
import { type SharedEngine, startSharedEngine } from '../sandbox/agent-under-test/shared-engine.ts';
import { busyboxImage } from '../sandbox/busybox-image.ts';
import { agentService, containerdSocket, installAgent } from '../sandbox/captain-os.ts';
import { startContainerd } from '../sandbox/containerd.ts';
import { makeGlibcRoot } from '../sandbox/glibc-root.ts';
import { bootkits, startAsBootkit } from '../sandbox/hook-bootkit.ts';
import { osieHelpers, runOsieHelper } from '../sandbox/osie-helper.ts';
import { startPlainRegistry } from '../sandbox/plain-registry.ts';
import { pollUntil } from '../sandbox/poll-until.ts';
import { hardwareJson, MACHINE_ONE } from '../sandbox/tink-server/example.ts';
import { onKubernetes, type ServerDialect, startTinkServer, type TinkServer } from '../sandbox/tink-server/server.ts';

const root = join(import.meta.dirname, '../..');
const archive = 'tink-worker.oci.tar';

/** `make push` of the agent's image alone. */
async function push(release: string, directory: string, registry: string, ...options: string[]): Promise<void> {
  const agentOnly = join(directory, 'release');
  await mkdir(agentOnly);
  await copyFile(join(release, archive), join(agentOnly, archive));
  const script = [join(root, 'release/push.ts'), '--directory', agentOnly];
  await execa(process.execPath, [...script, '--', registry, '--dest-tls-verify=false', ...options]);
}

/** Two actions that write into a directory. */
function createWorkflow(server: TinkServer, image: string, directory: string): string {
  if (!onKubernetes(server.dialect)) server.pushHardware(hardwareJson(MACHINE_ONE));
  const actions = ['one', 'two'].map((name) => ({
    ...{ name, image, timeout: 60, volumes: [`${directory}:/shared`] },
    command: ['sh', '-c', `echo printed by ${name}; echo ${name} >> /shared/done`],
  }));
  const tasks = [{ name: 'provision', worker: '{{.machine1}}', actions }];
  const text = JSON.stringify({ version: '0.1', name: 'example', global_timeout: 600, tasks });
  return server.createWorkflow(server.createTemplate('example', text), { machine1: MACHINE_ONE.mac });
}

/** Waits until the workflow has come to an end, and returns the status and the message of that. */
async function end(server: TinkServer, workflow: string): Promise<string> {
  const isEnd = (name: string, status: string) =>
    /(FAILED|TIMEOUT)$/.test(status) || (name === 'two' && /SUCCESS$/.test(status));
  const isOver = (events: readonly { actionName: string; status: string }[]) =>
    events.some(({ actionName, status }) => isEnd(actionName, status));
  const last = (await server.waitFor(workflow, isOver)).at(-1);
  return `${last?.status}: ${last?.message}`;
}

/** Each host, and the server of its time. */
const containerHosts = [
  { name: 'OSIE of 2020', dialect: 'v0.1' },
  { name: 'OSIE of 2021', dialect: 'v0.2' },
  { name: 'HookOS 0.6', dialect: 'v0.2' },
  { name: 'HookOS 0.8', dialect: 'v0.9' },
  { name: 'HookOS of 2026', dialect: 'current' },
] as const satisfies readonly { name: string; dialect: ServerDialect }[];

/** @param release directory of the release, called when the tests run */
export function testDropIns(release: () => string): void {
  describe('the agent that was pushed runs a workflow as it is started by', () => {
    let shared: SharedEngine;
    let directory: string;
    let index: { readonly digest: string; readonly version: string };
    before(async () => {
      directory = await mkdtemp(join(tmpdir(), 'nibs-drop-in-'));
      shared = await startSharedEngine({ privileged: true });
      const { host, username, password } = shared.registry;
      await push(release(), directory, host, `--dest-creds=${username}:${password}`);
      index = await readImageIndex(join(release(), archive));
      // A name that `make push` does not give, as docs/agent.md says.
      const withCredentials = ['--dest-tls-verify=false', `--dest-creds=${username}:${password}`];
      const name = `docker://${host}/${osieHelpers['OSIE of 2021'].image}`;
      await execa('skopeo', ['copy', '--all', ...withCredentials, `oci-archive:${join(release(), archive)}`, name]);
    });
    after(async () => {
      await shared?.[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    });

    for (const { name, dialect } of containerHosts) {
      test(name, { timeout: 180_000 }, async () => {
        await using server = await startTinkServer({ dialect });
        const { docker } = shared.engine;
        const worker = join(directory, name.replaceAll(/\W/g, '-'));
        await mkdir(worker);
        const kernelCommandLine = commandLineFor(server);
        await writeFile(join(worker, 'cmdline'), `${kernelCommandLine}\n`);
        // As of v0.9 the registry does not stand in front of the images of a template by itself.
        const image = dialect === 'current' ? `${shared.registry.host}/busybox` : 'busybox';
        const workflow = createWorkflow(server, image, worker);
        const environment = [
          ...['NIBS_KERNEL_COMMAND_LINE=/worker/cmdline', `NIBS_WORK_DIRECTORY=${worker}`, 'NIBS_STATUS_ADDRESS=off'],
        ];
        const started =
          name === 'OSIE of 2020' || name === 'OSIE of 2021'
            ? await startByOsie(name, worker, kernelCommandLine, environment)
            : await startByHookOs(name, worker, kernelCommandLine, environment);
        try {
          const ended = started.ended.then(() => 'the container has ended');
          assert.match(await Promise.race([end(server, workflow), ended]), /SUCCESS:/);
          assert.equal(await readFile(join(worker, 'done'), 'utf8'), 'one\ntwo\n');
          const { Image, HostConfig } = await started.container.inspect();
          assert.equal(HostConfig.Privileged, true);
          const { RepoDigests } = await docker.getImage(Image).inspect();
          assert.ok(
            RepoDigests.every((one: string) => one.endsWith(`@${index.digest}`)),
            RepoDigests.join(),
          );
          await started.container.stop();
          assert.equal((await started.container.inspect()).State.ExitCode, 0);
          const log = await started.log();
          // A terminal is read by people, anything else by programs.
          assert.match(log, name.startsWith('OSIE') ? /INFO +the agent starts/ : /"msg":"the agent starts"/);
          assert.equal(log.includes('printed by two'), name !== 'OSIE of 2021', log);
        } finally {
          await started.container.remove({ force: true });
        }
      });
    }

    /** What boots and smee send, with the values of this site. */
    function commandLineFor(server: TinkServer): string {
      const { host, username, password, authorityUrl } = shared.registry;
      const machine = onKubernetes(server.dialect) ? MACHINE_ONE.mac : MACHINE_ONE.id;
      const registry = `docker_registry=${host} registry_username=${username} registry_password=${password}`;
      const consoles = 'console=tty0 console=ttyS1,115200';
      if (server.dialect === 'v0.1' || server.dialect === 'v0.2') {
        return [
          ...['ip=dhcp modules=loop,squashfs,sd-mod,usb-storage parch=x86_64 packet_action=workflow packet_state='],
          ...[registry, `grpc_authority=${server.authority} grpc_cert_url=${server.certificateUrl}`],
          ...[`packet_base_url=${authorityUrl.replace('/ca.pem', '')}`, `worker_id=${machine}`],
          ...[`packet_bootdev_mac=${MACHINE_ONE.mac} facility=onprem initrd=initramfs-x86_64 ${consoles}`],
          'instance_id=0eba0bf8-3772-4b4a-ab9f-6ebe93b90a94',
        ].join(' ');
      }
      return [
        ...[`facility=onprem syslog_host=127.0.0.1 grpc_authority=${server.authority}`],
        ...[`tinkerbell_tls=false tinkerbell_insecure_tls=false worker_id=${machine} hw_addr=${MACHINE_ONE.mac}`],
        ...['modules=loop,squashfs,sd-mod,usb-storage intel_iommu=on iommu=pt initrd=initramfs-x86_64', consoles],
        ...[registry, `tink_worker_image=${host}/tink-worker:${index.version}`],
      ].join(' ');
    }

    async function startByOsie(
      name: keyof typeof osieHelpers,
      worker: string,
      kernelCommandLine: string,
      environment: readonly string[],
    ) {
      const more = [...environment.flatMap((one) => ['-e', one]), '-v', `${worker}:${worker}`];
      const home = `${worker}-home`;
      await mkdir(home);
      const running = await runOsieHelper(osieHelpers[name], shared.engine, kernelCommandLine, { worker, more }, home);
      return {
        container: shared.engine.docker.getContainer('tink-worker'),
        ended: running.ended,
        /** What the helper shows on the console, once the container has ended. */
        log: async () => (await running.ended).all,
      };
    }

    async function startByHookOs(
      name: keyof typeof bootkits,
      worker: string,
      kernelCommandLine: string,
      environment: readonly string[],
    ) {
      const container = await startAsBootkit(bootkits[name], shared.engine, kernelCommandLine, {
        sources: { '/worker': worker, '/var/run/docker.sock': shared.engine.socketPath, '/host_root/run': '/run' },
        moreMounts: [[worker, worker]],
        moreEnvironment: environment,
      });
      return {
        container,
        ended: container.wait(),
        log: async () => (await container.logs({ stdout: true, stderr: true })).toString(),
      };
    }
  });

  test('CaptainOS takes the agent that was pushed, and that runs a workflow in a root without a C++ library', {
    timeout: 240_000,
  }, async (test) => {
    const directory = await mkdtemp(join(tmpdir(), 'nibs-captain-'));
    test.after(() => rm(directory, { recursive: true, force: true }));
    await using containerd = await startContainerd();
    await using registry = await startPlainRegistry();
    await using server = await startTinkServer({ dialect: 'current' });
    await using root = await makeGlibcRoot('trixie');
    await push(release(), directory, registry.host);
    const image = await registry.push('busybox:latest', await busyboxImage());
    const kernelCommandLine = [
      ...[`facility=onprem grpc_authority=${server.authority} tinkerbell_tls=false tinkerbell_insecure_tls=false`],
      ...[`worker_id=${MACHINE_ONE.mac} hw_addr=${MACHINE_ONE.mac} console=tty0`],
      ...[`docker_registry=${registry.host} registry_username=admin registry_password=not-asked-for`],
      `insecure_registries=${registry.host}`,
    ].join(' ');

    assert.equal(await installAgent(containerd, kernelCommandLine, root.path), 'usr/bin/tink-agent');

    // CaptainOS has coreutils and util-linux. The agent calls these of them.
    await copyFile('/bin/busybox', join(root.path, 'usr/bin/busybox'));
    for (const tool of ['mkfifo', 'mount', 'umount', 'unshare'])
      await symlink('busybox', join(root.path, 'usr/bin', tool));

    const site = join(containerd.directory, 'site');
    await mkdir(site);
    await writeFile(join(site, 'cmdline'), `${kernelCommandLine}\n`);
    const workflow = createWorkflow(server, image, site);

    const { environment, program, flags } = agentService(kernelCommandLine);
    const agent = execa(
      'unshare',
      [
        ...['--mount', 'sh', '-euc', startInRoot, 'sh', root.path, containerd.directory],
        ...[containerdSocket, program, ...flags],
      ],
      {
        ...{ all: true, reject: false, extendEnv: false },
        env: {
          ...environment,
          // This machine refuses privileged containers.
          ...{ NIBS_KERNEL_COMMAND_LINE: join(site, 'cmdline'), NIBS_PRIVILEGED: 'false', NIBS_STATUS_ADDRESS: 'off' },
          // containerd is not in that root: these directories have the same path for both.
          NIBS_STATE_DIRECTORY: join(containerd.directory, 'state-of-the-agent'),
          NIBS_WORK_DIRECTORY: join(containerd.directory, 'worker'),
          NIBS_CONTAINERD_DATA_ROOT: join(containerd.directory, 'nerdctl'),
        },
      },
    );
    await using _ = {
      async [Symbol.asyncDispose]() {
        agent.kill('SIGKILL');
        await agent;
      },
    };
    const result = await Promise.race([end(server, workflow), agent.then(() => 'the agent has ended')]);
    const containers = () => containerd.ctr('--namespace', 'tinkerbell', 'containers', 'list', '--quiet');
    await pollUntil(async () => (await containers()) === '', 'the removal of the containers');
    agent.kill('SIGTERM');
    const { exitCode, all } = await agent;
    assert.match(result, /SUCCESS:/, all);
    assert.equal(exitCode, 0, all);
    assert.equal(await readFile(join(site, 'done'), 'utf8'), 'one\ntwo\n');
  });
}

/**
 * Starts a program in another root, which has what `shared` names at the same paths, since
 * containerd and the agent name files to each other, and containerd's socket at its own.
 */
const startInRoot = `
  root=$1; shared=$2; socket=$3; shift 3
  mount -t proc proc "$root/proc"; mount -t sysfs sysfs "$root/sys"; mount --rbind /dev "$root/dev"
  mkdir -p "$root$shared" "$root$\{socket%/*}"
  mount --rbind "$shared" "$root$shared"
  touch "$root$socket"; mount --bind "$shared/containerd.sock" "$root$socket"
  mkdir -p /run/nibs "$root/run/nibs"; mount --bind /run/nibs "$root/run/nibs" # the pipes that containers print into
  exec chroot "$root" "$@"
`;
