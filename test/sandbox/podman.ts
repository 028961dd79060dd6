import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import Docker from 'dockerode';
import { hostArchitecture } from '../../debian/architecture.ts';
import { fetchSystem } from '../../initramfs/system.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import type { Engine, EngineOptions } from './engine.ts';
import { loadImage } from './load-image.ts';
import { unmountBelow } from './scratch-mount.ts';

/** Podman's configuration has no address ranges. */
const insecureLoopback = [
  '127.0.0.1',
  'localhost',
  ...Array.from({ length: 254 }, (_, host) => `127.77.0.${host + 1}`),
];

const repository = resolve(import.meta.dirname, '../..');
const configuration = join(repository, 'initramfs/files/engine-podman/etc/containers');

/**
 * Starts the Podman of the boot image, with the image's configuration, in place of the Docker
 * Engine: own socket, own store, no program for networks. It runs in a mount namespace with the
 * libraries of Debian 13 and nothing but cgroups v2, because it refuses a machine that has both
 * versions of cgroups. As in the boot image, a restart does not end containers. Needs root.
 *
 * Of registries, all at an address in 127.0.0.0/8 that tests use are insecure, as with Docker;
 * Podman has no such rule by itself.
 */
export async function startPodman(options: EngineOptions = {}): Promise<Engine> {
  const { packages } = await fetchSystem(join(repository, 'build/cache'), { engine: 'podman' });
  // Short: a socket path has at most 107 characters.
  const directory = await mkdtemp(join(tmpdir(), 'nibs-podman-'));
  const at = (name: string) => join(directory, name);
  await configure(directory, packages, options);
  const namespace = await mountNamespace(packages);
  const socketPath = at('docker.sock');
  const docker = new Docker({ socketPath });
  let service: Daemon | undefined;

  async function start(): Promise<void> {
    await rm(socketPath, { force: true });
    const environment = [
      ...[`HOME=${directory}`, `PATH=${at('bin')}:${process.env['PATH']}`, `TMPDIR=${at('tmp')}`],
      ...[`CONTAINERS_CONF=${at('containers.conf')}`, `CONTAINERS_STORAGE_CONF=${at('storage.conf')}`],
      `CONTAINERS_REGISTRIES_CONF=${at('registries.conf')}`,
    ];
    service = await startDaemon({
      program: 'nsenter',
      parameters: [
        ...[`--mount=/proc/${namespace.pid}/ns/mnt`, 'env', ...environment],
        ...['podman', 'system', 'service', '--time', '0', `unix://${socketPath}`],
      ],
      logPath: at('podman.log'),
      ask: () => docker.ping(),
    });
  }

  async function stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await service?.end(signal);
    service = undefined;
  }

  async function dispose(): Promise<void> {
    if (service === undefined) await start();
    const containers = await docker.listContainers({ all: true });
    await Promise.all(containers.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true })));
    await stop();
    namespace.kill('SIGKILL');
    await once(namespace, 'exit');
    await unmountBelow(directory);
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  }

  if (options.started !== false) await start();
  return {
    ...{ socketPath, host: `unix://${socketPath}`, docker, logPath: at('podman.log'), start, stop },
    stopDockerd: () => stop(),
    load: (reference, image) => loadImage(docker, reference, image),
    [Symbol.asyncDispose]: dispose,
  };
}

/** The configuration of the boot image, with other directories. */
async function configure(directory: string, packages: string, { logs }: EngineOptions): Promise<void> {
  const at = (name: string) => join(directory, name);
  for (const name of ['bin', 'tmp', 'helpers', '.config']) await mkdir(at(name));
  for (const name of ['podman', 'crun', 'conmon']) await symlink(join(packages, 'usr/bin', name), at(`bin/${name}`));
  await symlink('/bin/false', at('helpers/netavark'));
  await cp(configuration, at('.config/containers'), { recursive: true });
  const containers = await readFile(join(configuration, 'containers.conf'), 'utf8');
  const paths = `helper_binaries_dir = ["${at('helpers')}"]\nconmon_path = ["${at('bin/conmon')}"]\n`;
  const runtimes = `static_dir = "${at('libpod')}"\ntmp_dir = "${at('run/libpod')}"\n\n[engine.runtimes]\ncrun = ["${at('bin/crun')}"]\n`;
  const driver =
    logs === undefined ? containers : containers.replace(/^log_driver = .*$/m, `log_driver = "${logs.driver}"`);
  await writeFile(at('containers.conf'), `${driver}${paths}${runtimes}`);
  const storage = `[storage]\ndriver = "overlay"\nrunroot = "${at('run')}"\ngraphroot = "${at('data')}"\n`;
  await writeFile(at('storage.conf'), storage);
  const insecure = insecureLoopback.map((host) => `[[registry]]\nlocation = "${host}"\ninsecure = true\n`);
  await writeFile(at('registries.conf'), `unqualified-search-registries = ["docker.io"]\n${insecure.join('')}`);
}

/** A process that keeps the mount namespace. */
async function mountNamespace(packages: string) {
  const libraries = `/usr/lib/${hostArchitecture.gnu}`;
  const script = [
    `mount -t overlay -o lowerdir=${packages}${libraries}:${libraries} libraries ${libraries}`,
    'mount -t cgroup2 cgroup2 /sys/fs/cgroup',
    'echo ready',
    'exec sleep infinity',
  ].join('\n');
  const namespace = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', 'unshare', '--mount', '--propagation', 'slave', 'sh', '-ec', script],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const { promise, resolve: ready, reject } = Promise.withResolvers<void>();
  namespace.stdout.once('data', () => ready());
  namespace.once('exit', (code) => reject(new Error(`the mount namespace could not be made: exit code ${code}`)));
  await promise;
  process.once('exit', () => void namespace.kill('SIGKILL'));
  return namespace;
}
