/**
 * The container image of the agent on CaptainOS, which takes one file out of it and has no C++
 * library.
 */
import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { busyboxImage } from '../sandbox/busybox-image.ts';
import { agentFlags, installAgent } from '../sandbox/captain-os.ts';
import { startContainerd } from '../sandbox/containerd.ts';
import { makeGlibcRoot } from '../sandbox/glibc-root.ts';
import { readOciArchive } from '../sandbox/oci-archive.ts';
import { startPlainRegistry } from '../sandbox/plain-registry.ts';
import { pollUntil } from '../sandbox/poll-until.ts';
import { hardwareJson, MACHINE_ONE } from '../sandbox/tink-server/example.ts';
import { startTinkServer } from '../sandbox/tink-server/server.ts';

const project = join(import.meta.dirname, '../..');

/**
 * Starts a program in another root, which has what `shared` names at the same paths, since
 * containerd and the agent name files to each other.
 */
const startInRoot = `
  root=$1; shared=$2; shift 2
  mount -t proc proc "$root/proc"; mount -t sysfs sysfs "$root/sys"; mount --rbind /dev "$root/dev"
  mount --rbind "$shared" "$root$shared"
  mkdir -p /run/nibs "$root/run/nibs"; mount --bind /run/nibs "$root/run/nibs" # the pipes that containers print into
  exec chroot "$root" "$@"
`;

test('CaptainOS takes the agent out of the image, and that runs a workflow in a root without a C++ library', {
  timeout: 240_000,
}, async (test) => {
  await using containerd = await startContainerd();
  await using registry = await startPlainRegistry();
  await using server = await startTinkServer({ dialect: 'current' });
  await using root = await makeGlibcRoot('trixie');
  const archive = join(await mkdtemp(join(tmpdir(), 'nibs-captain-')), 'tink-worker.oci.tar');
  test.after(() => rm(join(archive, '..'), { recursive: true }));
  await execa(process.execPath, [join(project, 'initramfs/agent-image.ts'), '--output', archive]);
  const image = await registry.push('tink-agent:latest', await readOciArchive(archive));
  const busybox = await registry.push('busybox:latest', await busyboxImage());

  assert.equal(await installAgent(containerd, image, root.path, [registry.host]), 'usr/bin/tink-agent');

  // CaptainOS has coreutils and util-linux. The agent calls these of them.
  await copyFile('/bin/busybox', join(root.path, 'usr/bin/busybox'));
  for (const tool of ['mkfifo', 'mount', 'umount', 'unshare'])
    await symlink('busybox', join(root.path, 'usr/bin', tool));

  server.pushHardware(hardwareJson(MACHINE_ONE));
  const site = join(containerd.directory, 'site');
  await mkdir(site);
  const actions = ['one', 'two'].map((name) => ({
    ...{ name, image: busybox, timeout: 60, volumes: [`${site}:/site`] },
    command: ['sh', '-c', `echo ${name} >> /site/done`],
  }));
  const tasks = [{ name: 'provision', worker: '{{.machine1}}', actions }];
  const template = server.createTemplate('example', JSON.stringify({ version: '0.1', name: 'example', tasks }));
  const workflow = server.createWorkflow(template, { machine1: MACHINE_ONE.mac });

  await mkdir(join(root.path, containerd.directory), { recursive: true });
  const cmdline = { grpc_authority: server.authority, worker_id: MACHINE_ONE.mac, docker_registry: registry.host };
  const agent = execa(
    'unshare',
    [
      ...['--mount', 'sh', '-euc', startInRoot, 'sh', root.path, containerd.directory, '/tink-agent'],
      ...agentFlags(containerd.socketPath, cmdline),
    ],
    {
      ...{ all: true, reject: false, extendEnv: false },
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        // The machine that runs the tests is not the one that is provisioned, and refuses
        // privileged containers.
        ...{ NIBS_KERNEL_COMMAND_LINE: '/nothing', NIBS_PRIVILEGED: 'false', NIBS_NETWORK: 'host' },
        NIBS_STATUS_ADDRESS: 'off',
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
  const success = server.waitFor(
    workflow,
    (events) =>
      events.some(
        ({ actionName, status }) => /FAILED$/.test(status) || (actionName === 'two' && /SUCCESS$/.test(status)),
      ),
    120,
  );
  const failure = await Promise.race([success, agent]).then(
    () => undefined,
    (error: unknown) => error,
  );
  const containers = () => containerd.ctr('--namespace', 'tinkerbell', 'containers', 'list', '--quiet');
  await pollUntil(async () => (await containers()) === '', 'the removal of the containers');
  agent.kill('SIGTERM');
  const { exitCode, all } = await agent;
  assert.equal(failure, undefined, all);
  assert.equal(exitCode, 0, all);
  assert.match(server.events(workflow).at(-1)?.status ?? '', /SUCCESS$/, all);
  assert.equal(await readFile(join(site, 'done'), 'utf8'), 'one\ntwo\n');
});
