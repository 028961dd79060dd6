import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import type { Clock } from '../../../clock/clock.ts';
import { VersionDefinition } from '../../../proto/containerd.pb.ts';
import type { RegistryLogin } from '../../../registry/login.ts';
import type { ContainerSpec } from '../container-spec.ts';
import type { ContainerDetails, ContainerSummary } from '../container-state.ts';
import type { Engine, Output, PullProgress } from '../engine.ts';
import { EngineError } from '../engine-error.ts';
import { ContainerdClient, cleanUp } from './client.ts';
import { ContainerStore, snapshotter } from './container-store.ts';
import { type ContainerParts, createContainer, hostnameOf } from './create-container.ts';
import { type Operation, request } from './engine-error.ts';
import { ExitRecorder } from './exit-recorder.ts';
import { imageConfiguration } from './image/pull.ts';
import { startPull } from './image/start-pull.ts';
import { isInTime } from './in-time.ts';
import { ContainerNetworks, type NetworkKind } from './network/container-networks.ts';
import { OutputPipes } from './output-pipes.ts';
import { idOf, labelKeys, stateOf } from './record.ts';
import { stopSignalNumber } from './stop-signal.ts';
import { Tasks } from './tasks.ts';

/** Where containerd is and what it works with. */
export interface ContainerdOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** Path. Default of containerd: /run/containerd/containerd.sock. */
  readonly socket: string;
  /** containerd's namespace; what other programs have in other namespaces is not seen. */
  readonly namespace: string;
  /** Directory for the named volumes of containers. */
  readonly dataRoot: string;
  /**
   * Directory for their pipes and network namespaces, which must not outlive the uptime of the
   * machine. Default: /run/nibs.
   */
  readonly stateRoot?: string | undefined;
  /** Directory with a `hosts.toml` for each registry, as containerd's own programs read it. */
  readonly registryConfigPath: string;
  /** Directory with the configuration of networks. Default: /etc/cni/net.d. */
  readonly networkConfigPath?: string | undefined;
  /** Directories with the plug-ins of networks. Default: /opt/cni/bin, /usr/lib/cni. */
  readonly networkPluginPaths?: readonly string[] | undefined;
  /** Called with what does not end the work. */
  readonly warn: (message: string) => void;
}

/** What this process holds of a container. */
interface ContainerHandle {
  readonly pipes: OutputPipes;
  /** Ends {@link recorded}. */
  readonly over: AbortController;
  /** Settled when its exit is in its labels. */
  recorded?: Promise<void>;
}

/** containerd's own API. Nothing is sent yet. */
export function createContainerdEngine(options: ContainerdOptions): Engine {
  return new ContainerdEngine(options);
}

class ContainerdEngine implements Engine {
  readonly #client: ContainerdClient;
  readonly #parts: ContainerParts;
  readonly #tasks: Tasks;
  readonly #recorder: ExitRecorder;
  readonly #handles = new Map<string, ContainerHandle>();

  constructor(options: ContainerdOptions) {
    const { socket, namespace, clock, registryConfigPath, dataRoot, stateRoot = '/run/nibs', warn } = options;
    const stateDirectory = join(stateRoot, namespace);
    const client = new ContainerdClient(socket, namespace, clock);
    const networks = new ContainerNetworks({
      confDirectory: options.networkConfigPath ?? '/etc/cni/net.d',
      binDirectories: options.networkPluginPaths ?? ['/opt/cni/bin', '/usr/lib/cni'],
      stateDirectory: join(stateDirectory, 'networks'),
      warn,
    });
    this.#client = client;
    this.#parts = {
      ...{ client, networks },
      images: { client, snapshotter, registryConfigPath, dockerCertsPath: '/etc/docker/certs.d' },
      containers: new ContainerStore(client),
      volumesDirectory: join(dataRoot, 'volumes', namespace),
      directoryOf: (id) => join(stateDirectory, 'containers', id),
    };
    this.#tasks = new Tasks(client);
    this.#recorder = new ExitRecorder({ client, containers: this.#containers, tasks: this.#tasks, warn });
  }

  async ping(signal: AbortSignal): Promise<void> {
    const operation = { what: 'reach', target: 'containerd' };
    await request(operation, () => this.#client.call(VersionDefinition, 'version', {}, { signal }));
  }

  async listContainers(labels: readonly string[], signal: AbortSignal): Promise<readonly ContainerSummary[]> {
    return await request({ what: 'list', target: 'the containers' }, async () => {
      const [containers, processes] = await Promise.all([
        this.#containers.list(labels, signal),
        this.#tasks.list(signal),
      ]);
      return containers.map((container) => {
        const { id, image, labels } = container;
        const { status } = stateOf(container, processes.get(id), this.#client.clock.now());
        return { id, image, labels, status, name: labels[labelKeys.name] ?? id };
      });
    });
  }

  async createContainer(spec: ContainerSpec, signal: AbortSignal): Promise<string> {
    const meanings: Operation['meanings'] = { [status.ALREADY_EXISTS]: 'name-taken' };
    const operation = { what: 'create', target: `the container ${spec.name}`, meanings };
    return await request(operation, () => createContainer(this.#parts, spec, signal));
  }

  async inspectContainer(container: string, signal: AbortSignal): Promise<ContainerDetails> {
    return await request(onContainer('inspect', container), () => this.#inspect(idOf(container), signal));
  }

  async startContainer(id: string, signal: AbortSignal): Promise<void> {
    await request(onContainer('start', id), async () => {
      const { labels } = await this.#containers.get(id, signal);
      const handle = this.#handle(id);
      await handle.pipes.make();
      const mounts = await this.#containers.mounts(id, signal);
      const outOfMemory = this.#recorder.watchForOutOfMemory(id, handle.over.signal);
      try {
        const hostname = labels[labelKeys.hostname] ?? hostnameOf(id, '');
        await this.#parts.networks.connect(id, this.#parts.directoryOf(id), networkOf(labels), hostname, signal);
        await this.#tasks.start(id, mounts, handle.pipes.uri, signal);
      } catch (error) {
        await cleanUp(this.#client, (options) => this.#tasks.clear(id, options.signal));
        throw error;
      }
      // Before the label: if that fails, the caller inspects the container, finds that it was
      // started, and does not start it again.
      this.#record(id, handle, outOfMemory);
      const started = this.#client.clock.now().toISOString();
      await this.#containers.setLabels(id, { [labelKeys.started]: started }, signal);
    });
  }

  async attach(id: string, signal: AbortSignal): Promise<Output> {
    return await request(onContainer('read the output of', id), async () => {
      const { pipes } = this.#handle(id);
      await pipes.make();
      return pipes.read(signal);
    });
  }

  /** What another process read of the pipes is gone. */
  async followLog(id: string, _since: Date, signal: AbortSignal): Promise<Output> {
    return await request(onContainer('read the output of', id), async () => {
      await this.#containers.get(id, signal);
      const handle = this.#handle(id);
      await handle.pipes.make();
      if (handle.recorded === undefined)
        this.#record(id, handle, this.#recorder.watchForOutOfMemory(id, handle.over.signal));
      return handle.pipes.read(signal);
    });
  }

  async waitForExit(id: string, signal: AbortSignal): Promise<number | undefined> {
    return await request(onContainer('wait for', id), async () => {
      const exit = await this.#tasks.wait(id, signal);
      if (exit !== undefined) return exit.exitCode;
      const { state } = await this.#inspect(id, signal);
      return state.status === 'exited' && state.error === '' ? state.exitCode : undefined;
    });
  }

  async stopContainer(id: string, graceSeconds: number, signal: AbortSignal): Promise<void> {
    await request(onContainer('stop', id), async () => {
      const { labels } = await this.#containers.get(id, signal);
      const exited = this.#tasks.wait(id, signal);
      // It is awaited below; if the request before that fails, it is not.
      exited.catch(() => {});
      if (!(await this.#tasks.signal(id, stopSignalNumber(labels[labelKeys.stopSignal]), signal)))
        throw new EngineError('not-running', { ...onContainer('stop', id), why: 'it has exited already' });
      if (!(await isInTime(this.#client.clock, exited, graceSeconds))) await this.#tasks.kill(id, signal);
      await exited;
    });
  }

  /** The record goes last: until then, another process can go on. */
  async removeContainer(id: string, signal: AbortSignal): Promise<void> {
    const meanings: Operation['meanings'] = { [status.FAILED_PRECONDITION]: 'being-removed' };
    await request({ ...onContainer('remove', id), meanings }, async () => {
      const { labels } = await this.#containers.get(id, signal);
      const directory = this.#parts.directoryOf(id);
      await this.#close(id);
      await this.#tasks.clear(id, signal);
      await this.#parts.networks.disconnect(id, directory, networkOf(labels), signal);
      await this.#containers.removeSnapshot(id, signal);
      await rm(directory, { recursive: true, force: true });
      await this.#containers.removeRecord(id, signal);
    });
  }

  async hasImage(name: string, signal: AbortSignal): Promise<boolean> {
    const look = () => imageConfiguration(this.#parts.images, name, signal);
    return (await request({ what: 'look for', target: `the image ${name}` }, look)) !== undefined;
  }

  async pullImage(
    name: string,
    login: RegistryLogin | undefined,
    signal: AbortSignal,
  ): Promise<AsyncIterable<PullProgress>> {
    return await request({ what: 'pull', target: name }, () => startPull(this.#parts.images, name, login, signal));
  }

  /** Its clients unpack archives themselves (`ctr images import`): its API has no such request. */
  async loadImages(path: string): Promise<never> {
    throw new EngineError('refused', {
      ...{ what: 'load', target: `the images in ${path}`, why: 'containerd has no request for it' },
      hint: 'import them with ctr --namespace NAME images import',
    });
  }

  async hasDefaultNetwork(signal: AbortSignal): Promise<boolean> {
    return await request({ what: 'load', target: 'the network' }, () => this.#parts.networks.isAvailable(signal));
  }

  /** Containers that run go on; their output waits in the pipes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#handles.keys()].map((id) => this.#close(id)));
    this.#client.close();
  }

  get #containers(): ContainerStore {
    return this.#parts.containers;
  }

  async #inspect(id: string, signal: AbortSignal): Promise<ContainerDetails> {
    let container = await this.#containers.get(id, signal);
    const process = await this.#tasks.get(id, signal);
    const now = this.#client.clock.now();
    if (stateOf(container, process, now).status === 'exited' && container.labels[labelKeys.exitCode] === undefined) {
      // The recorder knows more than the process says, and is about to store it.
      await this.#handles.get(id)?.recorded;
      container = await this.#containers.get(id, signal);
    }
    return { id, labels: container.labels, state: stateOf(container, process, now) };
  }

  #handle(id: string): ContainerHandle {
    const known = this.#handles.get(id);
    if (known !== undefined) return known;
    const handle = { pipes: new OutputPipes(this.#parts.directoryOf(id)), over: new AbortController() };
    this.#handles.set(id, handle);
    return handle;
  }

  #record(id: string, handle: ContainerHandle, outOfMemory: Promise<true>): void {
    const recorded = this.#recorder.record(id, outOfMemory, handle.over.signal);
    handle.recorded = recorded.finally(() => handle.pipes.end());
  }

  async #close(id: string): Promise<void> {
    const handle = this.#handles.get(id);
    if (handle === undefined) return;
    handle.over.abort();
    await handle.recorded;
    handle.pipes.end();
    this.#handles.delete(id);
  }
}

function onContainer(what: string, container: string): Operation {
  return { what, target: `the container ${container}` };
}

function networkOf(labels: Readonly<Record<string, string>>): NetworkKind {
  const kind = labels[labelKeys.network];
  return kind === 'cni' || kind === 'none' ? kind : 'host';
}
