import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Docker from 'dockerode';
import { execa } from 'execa';
import { type Daemon, startDaemon } from './daemon.ts';
import { engineUnderTest } from './engine-under-test.ts';
import type { Image } from './image.ts';
import { loadImage } from './load-image.ts';
import { startPodman } from './podman.ts';
import { privilegedRunc } from './privileged-runc.ts';
import { unmountBelow } from './scratch-mount.ts';

/** How the engine differs from the usual one. */
export interface EngineOptions {
  /** `log-driver` and `log-opts` of daemon.json. Default: the engine's own. */
  readonly logs?: { readonly driver: string; readonly options?: Readonly<Record<string, string>> };
  /** Containers survive a restart of the engine. Default: false. */
  readonly liveRestore?: boolean;
  /**
   * Privileged containers run also on a machine that has not all capabilities, at the price of some
   * milliseconds for each container. Default: false.
   */
  readonly privileged?: boolean;
  /** `false`: only make the place; the engine is started by {@link Engine.start}. Default: true. */
  readonly started?: boolean;
}

/**
 * A private Docker Engine of Debian's packages with a private containerd: own socket, own image
 * store, no bridge, no packet filter rules, as in the boot image. Any number of them work side by
 * side. All containers go with it.
 */
export interface Engine extends AsyncDisposable {
  readonly socketPath: string;
  /** Value for DOCKER_HOST: `unix://` and the socket path. */
  readonly host: string;
  readonly docker: Docker;
  /** Path of the engine's log; it is deleted with the engine. */
  readonly logPath: string;
  /** Puts an image into the engine's store without a registry, under the given reference. */
  load(reference: string, image: Image): Promise<void>;
  /**
   * Ends the engine and its containerd: `SIGTERM` lets it stop its containers (unless they live
   * on), `SIGKILL` does not ask.
   */
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /**
   * Ends dockerd alone with SIGTERM, as `systemctl restart docker` does where containerd is a
   * service of its own.
   */
  stopDockerd(): Promise<void>;
  /** Starts it again with the same store, and waits until it answers. */
  start(): Promise<void>;
}

/**
 * Starts an engine and waits until it answers (about a second). Needs root and the packages
 * docker.io, containerd and runc. With `TEST_ENGINE=podman` it is Podman.
 */
export async function startEngine(options: EngineOptions = {}): Promise<Engine> {
  if (engineUnderTest() === 'podman') return await startPodman(options);
  // Short: a socket path has at most 107 characters.
  const directory = await mkdtemp(join(tmpdir(), 'nibs-engine-'));
  const at = (name: string) => join(directory, name);
  const socketPath = at('docker.sock');
  const docker = new Docker({ socketPath });
  let containerd: Daemon | undefined;
  let dockerd: Daemon | undefined;

  async function start(): Promise<void> {
    const address = at('containerd.sock');
    containerd ??= await startDaemon({
      program: 'containerd',
      parameters: ['--address', address, '--root', at('containerd'), '--state', at('containerd-state')],
      logPath: at('containerd.log'),
      ask: () => execa('ctr', ['--address', address, 'version']),
    });
    dockerd = await startDaemon({
      program: 'dockerd',
      parameters: [
        ...['--host', `unix://${socketPath}`, '--containerd', address, '--pidfile', at('dockerd.pid')],
        ...['--data-root', at('data'), '--exec-root', at('exec'), '--config-file', at('daemon.json')],
        ...['--iptables=false', '--ip6tables=false', '--ip-forward=false', '--bridge=none'],
        ...(options.liveRestore === true ? ['--live-restore'] : []),
        ...(options.privileged === true ? await privilegedRunc(directory) : []),
      ],
      logPath: at('dockerd.log'),
      ask: () => docker.ping(),
    });
  }

  async function stopDockerd(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await dockerd?.end(signal);
    dockerd = undefined;
  }

  async function stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await stopDockerd(signal);
    await containerd?.end(signal);
    containerd = undefined;
  }

  async function dispose(): Promise<void> {
    if (dockerd === undefined) await start();
    const containers = await docker.listContainers({ all: true });
    await Promise.all(containers.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true })));
    await stop();
    // The engine leaves the network namespace of host-network containers mounted.
    await unmountBelow(directory);
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  }

  // The machine's own /etc/docker/daemon.json must not count.
  const { driver, options: logOptions = {} } = options.logs ?? {};
  await writeFile(at('daemon.json'), JSON.stringify(driver ? { 'log-driver': driver, 'log-opts': logOptions } : {}));
  if (options.started !== false) await start();
  return {
    ...{ socketPath, host: `unix://${socketPath}`, docker, logPath: at('dockerd.log'), start, stop },
    stopDockerd: () => stopDockerd(),
    load: (reference, image) => loadImage(docker, reference, image),
    [Symbol.asyncDispose]: dispose,
  };
}
