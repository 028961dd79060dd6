import { rm } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import type { ContainerCreateOptions } from 'dockerode';
import type { Clock } from '../../../clock/clock.ts';
import {
  type Container,
  ContainersDefinition,
  EventsDefinition,
  type Process,
  SnapshotsDefinition,
  TaskOom,
  TaskStatus,
  TasksDefinition,
  VersionDefinition,
} from '../../../proto/containerd.pb.ts';
import type { EngineAuthentication } from '../credentials.ts';
import type { ContainerDetails, ContainerSummary, EngineApi, TrustAdvice } from '../engine-api.ts';
import type { PullFailureReason } from '../pull-failure.ts';
import { alreadyExists, ContainerdClient, ContainerdError, cleanUp, isNotFound } from './client.ts';
import { type ImageStore, imageConfiguration, pullFailureOf, pullImage } from './image/pull.ts';
import { inLease } from './lease.ts';
import { ContainerNetworks, type NetworkKind } from './network/container-networks.ts';
import { OutputPipes } from './output-pipes.ts';
import { type Exit, exitNotes, idOf, notes, stateOf, statusOf } from './record.ts';
import { type ContainerUser, resolveUser } from './spec/container-user.ts';
import { type ImageConfig, makeSpec } from './spec/oci-spec.ts';
import { withMounted } from './spec/snapshot-mount.ts';

/** Where containerd is and what it works with. */
export interface ContainerdOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** Path. Default of containerd: /run/containerd/containerd.sock. */
  readonly socket: string;
  /** containerd's namespace; what others have in other namespaces is not seen. */
  readonly namespace: string;
  /** Directory for the named volumes of containers. */
  readonly dataRoot: string;
  /** Directory for their pipes and network namespaces, which goes when the machine goes down. Default: /run/nibs. */
  readonly stateRoot?: string | undefined;
  /** Directory with a `hosts.toml` for each registry, as containerd's own programs read it. */
  readonly registryConfigPath: string;
  /** Directory with the configuration of networks. Default: /etc/cni/net.d. */
  readonly networkConfigPath?: string | undefined;
  /** Directories with the plug-ins of networks. Default: /opt/cni/bin, /usr/lib/cni. */
  readonly networkPluginPaths?: readonly string[] | undefined;
  /** Takes what is to be known and stops nothing. */
  readonly warn: (message: string) => void;
}

/** Docker's error for what is refused. */
class EngineRefusal extends Error {
  readonly statusCode: number;

  constructor(statusCode: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.statusCode = statusCode;
  }
}

/** What we hold of a container while we live. */
interface Attendance {
  readonly pipes: OutputPipes;
  /** Ends {@link recorded}. */
  readonly over: AbortController;
  /** Settled when its end is in its labels. */
  recorded?: Promise<void>;
}

const snapshotter = 'overlayfs';
/** Of the shim that starts the container; in every containerd since 1.2. */
const shim = 'io.containerd.runc.v2';
const specType = 'types.containerd.io/opencontainers/runtime-spec/1/Spec';
const exitCodeOfSigkill = 128 + constants.signals.SIGKILL;
/** The news that a container ran out of memory may come after that of its end. */
const outOfMemoryPatienceSeconds = 0.5;

/** containerd's own API behind the port that the runtime knows. Nothing is sent yet. */
export function connectContainerd(options: ContainerdOptions): EngineApi {
  return new ContainerdApi(options);
}

class ContainerdApi implements EngineApi {
  readonly #options: ContainerdOptions;
  readonly #client: ContainerdClient;
  readonly #images: ImageStore;
  readonly #networks: ContainerNetworks;
  readonly #stateDirectory: string;
  readonly #volumesDirectory: string;
  readonly #attended = new Map<string, Attendance>();

  constructor(options: ContainerdOptions) {
    this.#options = options;
    this.#client = new ContainerdClient(options.socket, options.namespace, options.clock);
    const { registryConfigPath } = options;
    this.#images = { client: this.#client, snapshotter, registryConfigPath, dockerCertsPath: '/etc/docker/certs.d' };
    this.#stateDirectory = join(options.stateRoot ?? '/run/nibs', options.namespace);
    this.#volumesDirectory = join(options.dataRoot, 'volumes', options.namespace);
    this.#networks = new ContainerNetworks({
      confDirectory: options.networkConfigPath ?? '/etc/cni/net.d',
      binDirectories: options.networkPluginPaths ?? ['/opt/cni/bin', '/usr/lib/cni'],
      stateDirectory: join(this.#stateDirectory, 'networks'),
      warn: options.warn,
    });
  }

  /** Trouble with our own files and programs is none with containerd. */
  whyAway(error: unknown): string | undefined {
    return isAway(error) ? error.message : undefined;
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#client.call(VersionDefinition, 'version', {}, { signal });
  }

  async listContainers(labels: readonly string[], signal: AbortSignal): Promise<readonly ContainerSummary[]> {
    const filters = [labels.map(toFilter).join(',')];
    const [{ containers }, { tasks }] = await Promise.all([
      this.#client.call(ContainersDefinition, 'list', { filters }, { signal }),
      this.#client.call(TasksDefinition, 'list', { filter: '' }, { signal }),
    ]);
    const processes = new Map(tasks.map((process) => [process.id || process.containerId, process]));
    return containers.map((container) => ({
      Id: container.id,
      Names: [container.labels[notes.name] ?? container.id],
      Image: container.image,
      Labels: container.labels,
      State: statusOf(container, processes.get(container.id), this.#client.clock.now()),
    }));
  }

  /** The record comes before its file system: what is half made is known, and found, as a container that was never started. */
  async createContainer(settings: ContainerCreateOptions, signal: AbortSignal): Promise<string> {
    const { name = crypto.randomUUID(), Image = '', Labels = {} } = settings;
    const id = idOf(name);
    const image = await imageConfiguration(this.#images, Image, signal);
    if (image === undefined) throw new EngineRefusal(404, `No such image: ${Image}`);
    const network = await this.#networks.kindOf(settings.HostConfig?.NetworkMode);
    const user = await this.#resolveUser(id, image, signal);
    const spec = await this.#specOf(id, settings, { ...image, user, network });
    const container: Container = {
      id,
      labels: {
        ...Labels,
        [notes.name]: name,
        [notes.hostname]: hostnameOf(id, settings),
        [notes.network]: network,
        ...(image.config.StopSignal && { [notes.stopSignal]: image.config.StopSignal }),
      },
      image: Image,
      runtime: { name: shim, options: undefined },
      spec: { typeUrl: specType, value: Buffer.from(JSON.stringify(spec)) },
      snapshotter,
      snapshotKey: id,
      createdAt: undefined,
    };
    try {
      await this.#client.call(ContainersDefinition, 'create', { container }, { signal });
    } catch (error) {
      // A request that is made again because the first one's answer got lost; that may not have come further than this.
      if (alreadyExists(error)) await this.#prepareSnapshot(id, image.chainId, signal);
      throw error;
    }
    await this.#prepareSnapshot(id, image.chainId, signal);
    return id;
  }

  async inspectContainer(idOrName: string, signal: AbortSignal): Promise<ContainerDetails> {
    const id = idOf(idOrName);
    let container = await this.#get(id, signal);
    const process = await this.#processOf(id, signal);
    const isOver = process === undefined || process.status === TaskStatus.STOPPED;
    if (isOver && container.labels[notes.exitCode] === undefined) {
      // Whoever attends it knows more than its process tells, and is about to write it down.
      await this.#attended.get(id)?.recorded;
      container = await this.#get(id, signal);
    }
    return {
      Id: id,
      Config: { Labels: container.labels },
      State: stateOf(container, process, this.#client.clock.now()),
    };
  }

  async startContainer(id: string, signal: AbortSignal): Promise<void> {
    const { labels } = await this.#get(id, signal);
    const attendance = this.#attend(id);
    await attendance.pipes.make();
    const { mounts } = await this.#client.call(SnapshotsDefinition, 'mounts', { snapshotter, key: id }, { signal });
    const outOfMemory = this.#untilOutOfMemory(id, attendance.over.signal);
    try {
      const hostname = labels[notes.hostname] ?? hostnameOf(id, {});
      await this.#networks.connect(id, this.#directoryOf(id), networkOf(labels), hostname);
      const { uri } = attendance.pipes;
      const task = { containerId: id, rootfs: mounts, stdin: '', stdout: uri, stderr: uri, terminal: false };
      await this.#client.call(TasksDefinition, 'create', task, { signal });
      await this.#client.call(TasksDefinition, 'start', { containerId: id, execId: '' }, { signal });
    } catch (error) {
      await cleanUp(this.#client, (options) => this.#clearTask(id, options.signal));
      throw error;
    }
    // First of all: if the note fails, the caller looks, sees that it was started, and does not come here again.
    attendance.recorded = this.#record(id, attendance, outOfMemory);
    await this.#note(id, { [notes.started]: this.#client.clock.now().toISOString() }, signal);
  }

  async attach(id: string, signal: AbortSignal): Promise<Readable> {
    const { pipes } = this.#attend(id);
    await pipes.make();
    return pipes.read(signal);
  }

  /** What was read of the pipes by somebody else is not there any more. */
  async followLog(id: string, _sinceSeconds: number, signal: AbortSignal): Promise<Readable> {
    await this.#get(id, signal);
    const attendance = this.#attend(id);
    await attendance.pipes.make();
    const output = attendance.pipes.read(signal);
    attendance.recorded ??= this.#record(id, attendance, this.#untilOutOfMemory(id, attendance.over.signal));
    return output;
  }

  async logDriver(): Promise<undefined> {}

  async waitForEnd(id: string, signal: AbortSignal): Promise<boolean> {
    try {
      const { exitStatus } = await this.#client.call(
        TasksDefinition,
        'wait',
        { containerId: id, execId: '' },
        { signal },
      );
      return exitStatus === 0;
    } catch (error) {
      if (!isNotFound(error)) throw error;
      const { Running, ExitCode } = (await this.inspectContainer(id, signal)).State;
      return !Running && ExitCode === 0;
    }
  }

  async stopContainer(id: string, graceSeconds: number, signal: AbortSignal): Promise<void> {
    const { labels } = await this.#get(id, signal);
    const gone = this.waitForEnd(id, signal);
    // The caller waits for it below; if what comes before fails, nobody does.
    gone.catch(() => {});
    if (!(await this.#kill(id, signalNumber(labels[notes.stopSignal]), false, signal))) {
      throw new EngineRefusal(304, 'it has ended already');
    }
    if (!(await isInTime(this.#client.clock, gone, graceSeconds)))
      await this.#kill(id, constants.signals.SIGKILL, true, signal);
    await gone;
  }

  /** The record goes last: until then, somebody else can go on. */
  async removeContainer(id: string, signal: AbortSignal): Promise<void> {
    const { labels } = await this.#get(id, signal);
    const attendance = this.#attended.get(id);
    attendance?.over.abort();
    await attendance?.recorded;
    await this.#clearTask(id, signal);
    await this.#networks.disconnect(id, this.#directoryOf(id), networkOf(labels));
    await ignoring(isNotFound, this.#client.call(SnapshotsDefinition, 'remove', { snapshotter, key: id }, { signal }));
    attendance?.pipes.end();
    this.#attended.delete(id);
    await rm(this.#directoryOf(id), { recursive: true, force: true });
    await this.#client.call(ContainersDefinition, 'delete', { id }, { signal });
  }

  async hasImage(name: string, signal: AbortSignal): Promise<boolean> {
    return (await imageConfiguration(this.#images, name, signal)) !== undefined;
  }

  /** As Docker does, a failure is the last line. */
  async pullImage(
    name: string,
    authentication: EngineAuthentication | undefined,
    signal: AbortSignal,
  ): Promise<Readable> {
    const progress = new PassThrough();
    const tell = (line: object) => void progress.write(`${JSON.stringify(line)}\n`);
    pullImage(this.#images, name, authentication, tell, signal).then(
      () => progress.end(),
      (error: Error) => {
        tell({ error: error.message, errorDetail: { reason: pullFailureOf(error) } });
        progress.end();
      },
    );
    return progress;
  }

  /** Every reason is in the report. */
  pullFailure(): PullFailureReason {
    return 'temporary';
  }

  get trustAdvice(): TrustAdvice {
    const { registryConfigPath } = this.#options;
    return {
      certificate: (host) =>
        `put the certificate of its authority at ${registryConfigPath}/${host}/ca.crt, or name it in the hosts.toml there; is the clock right?`,
      plainHttp: (host) => `name it as server = "http://${host}" in ${registryConfigPath}/${host}/hosts.toml`,
    };
  }

  async hasBridge(): Promise<boolean> {
    return await this.#networks.isAvailable();
  }

  async #get(id: string, signal: AbortSignal): Promise<Container> {
    try {
      const { container } = await this.#client.call(ContainersDefinition, 'get', { id }, { signal });
      if (container !== undefined) return container;
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    throw new EngineRefusal(404, `No such container: ${id}`);
  }

  async #processOf(id: string, signal: AbortSignal): Promise<Process | undefined> {
    const question = { containerId: id, execId: '' };
    return (await ignoring(isNotFound, this.#client.call(TasksDefinition, 'get', question, { signal })))?.process;
  }

  #attend(id: string): Attendance {
    const known = this.#attended.get(id);
    if (known !== undefined) return known;
    const attendance = { pipes: new OutputPipes(this.#directoryOf(id)), over: new AbortController() };
    this.#attended.set(id, attendance);
    return attendance;
  }

  #directoryOf(id: string): string {
    return join(this.#stateDirectory, 'containers', id);
  }

  async #prepareSnapshot(id: string, parent: string, signal: AbortSignal): Promise<void> {
    const snapshot = { snapshotter, key: id, parent, labels: {} };
    await ignoring(alreadyExists, this.#client.call(SnapshotsDefinition, 'prepare', snapshot, { signal }));
  }

  /** Names are looked up in the image; most images name nobody, and mean root. */
  async #resolveUser(
    id: string,
    { config: { User }, chainId }: { readonly config: ImageConfig; readonly chainId: string },
    signal: AbortSignal,
  ): Promise<ContainerUser> {
    if (!User) return { uid: 0, gid: 0, additionalGids: [] };
    const key = `${id}-user`;
    const remove = () =>
      ignoring(isNotFound, this.#client.call(SnapshotsDefinition, 'remove', { snapshotter, key }, { signal }));
    await remove();
    return await inLease(this.#client, signal, async (lease) => {
      const view = { snapshotter, key, parent: chainId, labels: {} };
      const { mounts } = await this.#client.call(SnapshotsDefinition, 'view', view, { signal, lease });
      try {
        return await withMounted(mounts, (rootfs) => resolveUser(User, rootfs));
      } finally {
        await remove();
      }
    });
  }

  async #specOf(
    id: string,
    settings: ContainerCreateOptions,
    { config, user, network }: { config: ImageConfig; user: ContainerUser; network: NetworkKind },
  ): Promise<object> {
    const at = (name: string) => join(this.#directoryOf(id), name);
    return await makeSpec({
      id,
      settings,
      image: config,
      user,
      hostname: hostnameOf(id, settings),
      networkNamespace: this.#networks.namespaceOf(this.#directoryOf(id), network),
      files: { resolvConf: at('resolv.conf'), hosts: at('hosts'), hostname: at('hostname') },
      volumesDirectory: this.#volumesDirectory,
      namespace: this.#options.namespace,
    });
  }

  async #note(id: string, labels: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void> {
    const container: Container = {
      ...{ id, labels: { ...labels }, image: '', runtime: undefined, spec: undefined },
      ...{ snapshotter: '', snapshotKey: '', createdAt: undefined },
    };
    const updateMask = Object.keys(labels).map((label) => `labels.${label}`);
    await this.#client.call(ContainersDefinition, 'update', { container, updateMask }, { signal });
  }

  /** Waits for its end, writes that down, and only then gives up what containerd knows of it: no end is lost. */
  async #record(id: string, { pipes, over: { signal } }: Attendance, outOfMemory: Promise<true>): Promise<void> {
    try {
      const exit = await this.#persist(signal, () => this.#untilExit(id, outOfMemory, signal));
      if (exit !== undefined) await this.#persist(signal, () => this.#note(id, exitNotes(exit), signal));
      // That waits until the shim has passed on what the container printed.
      await this.#persist(signal, () => this.#deleteTask(id, signal));
    } catch (error) {
      if (!signal.aborted)
        this.#options.warn(`the end of container ${id} is not recorded: ${(error as Error).message}`);
    } finally {
      pipes.end();
    }
  }

  /** While containerd is away. */
  async #persist<Result>(signal: AbortSignal, work: () => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!isAway(error)) throw error;
        await this.#client.clock.wait(0.5, signal);
      }
    }
  }

  /** `undefined`: nobody knows, or it is written down already. */
  async #untilExit(id: string, outOfMemory: Promise<true>, signal: AbortSignal): Promise<Exit | undefined> {
    const question = { containerId: id, execId: '' };
    const answer = await ignoring(isNotFound, this.#client.call(TasksDefinition, 'wait', question, { signal }));
    if (answer === undefined) return undefined;
    const { exitStatus: exitCode, exitedAt = this.#client.clock.now() } = answer;
    const killed = exitCode === exitCodeOfSigkill;
    return {
      exitCode,
      exitedAt,
      outOfMemory: killed && (await isInTime(this.#client.clock, outOfMemory, outOfMemoryPatienceSeconds)),
    };
  }

  /** Fulfilled if containerd says so; else never. */
  async #untilOutOfMemory(id: string, signal: AbortSignal): Promise<true> {
    const filters = [`namespace==${JSON.stringify(this.#options.namespace)},topic=="/tasks/oom"`];
    try {
      for await (const { event } of this.#client.stream(EventsDefinition, 'subscribe', { filters }, { signal })) {
        if (event !== undefined && TaskOom.decode(event.value).containerId === id) return true;
      }
    } catch {
      // It only explains an exit code that is known anyway.
    }
    return await new Promise<never>(() => {});
  }

  /** @returns false: there is nothing to send it to */
  async #kill(id: string, number: number, all: boolean, signal: AbortSignal): Promise<boolean> {
    const request = { containerId: id, execId: '', signal: number, all };
    const sent = await ignoring(isGone, this.#client.call(TasksDefinition, 'kill', request, { signal }));
    return sent !== undefined;
  }

  async #deleteTask(id: string, signal: AbortSignal): Promise<void> {
    await ignoring(isNotFound, this.#client.call(TasksDefinition, 'delete', { containerId: id }, { signal }));
  }

  async #clearTask(id: string, signal: AbortSignal): Promise<void> {
    const process = await this.#processOf(id, signal);
    if (process === undefined) return;
    if (process.status !== TaskStatus.STOPPED) {
      const gone = this.waitForEnd(id, signal);
      gone.catch(() => {});
      if (await this.#kill(id, constants.signals.SIGKILL, true, signal)) await gone;
    }
    await this.#deleteTask(id, signal);
  }
}

/** containerd's filters quote as Go does, which for these texts is as JSON does. */
function toFilter(label: string): string {
  const [name = '', ...value] = label.split('=');
  const field = `labels.${JSON.stringify(name)}`;
  return value.length === 0 ? field : `${field}==${JSON.stringify(value.join('='))}`;
}

/** As Docker: what the settings say, else as much of the id as is valid for one. */
function hostnameOf(id: string, { Hostname }: Pick<ContainerCreateOptions, 'Hostname'>): string {
  return Hostname || id.slice(0, 63);
}

function networkOf(labels: Readonly<Record<string, string>>): NetworkKind {
  const kind = labels[notes.network];
  return kind === 'cni' || kind === 'none' ? kind : 'host';
}

/** @param name as an image has it: `SIGTERM`, `TERM` or a number */
function signalNumber(name = 'SIGTERM'): number {
  const known = Object.entries(constants.signals).find(([key]) => key === name || key === `SIG${name}`)?.[1];
  return known ?? (Number(name) || constants.signals.SIGTERM);
}

function isAway(error: unknown): error is ContainerdError {
  return error instanceof ContainerdError && error.statusCode === 503;
}

/** containerd has no code of its own for a process that has ended. */
function isGone(error: unknown): boolean {
  return isNotFound(error) || (error instanceof ContainerdError && /process already finished/i.test(error.message));
}

/** Whether it is fulfilled in time. @throws what it is rejected with */
async function isInTime(clock: Clock, awaited: Promise<unknown>, seconds: number): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  using _ = clock.schedule(seconds, () => late.resolve(false));
  return await Promise.race([awaited.then(() => true), late.promise]);
}

async function ignoring<Result>(
  isHarmless: (error: unknown) => boolean,
  work: Promise<Result>,
): Promise<Result | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isHarmless(error)) return undefined;
    throw error;
  }
}
